//! A consumer group as the cluster describes it: its state, and its members with their topics and partitions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::consumer::Consumer as _;
use saga_core::{message::TopicPartition, transport::TransportError};

use crate::{
    error::unavailable,
    observer::{self, Client},
};

/// A consumer group at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// No rebalance is going on.
    pub(crate) stable: bool,
    pub(crate) members: Vec<GroupMember>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupMember {
    pub(crate) id: String,
    /// Its `client.id`.
    pub(crate) client: String,
    pub(crate) host: String,
    /// The topics that it subscribes to.
    pub(crate) topics: Vec<String>,
    /// The partitions that are assigned to it.
    pub(crate) partitions: Vec<TopicPartition>,
}

/// Requests the description of `group`. A group of the newer protocol (KIP-848) has no members in it.
///
/// # Errors
/// If the cluster does not answer, or the user may not ask for it.
pub(crate) fn describe(client: &Client, group: &str) -> Result<Group, TransportError> {
    let what = format!("asking for the members of the group `{group}`");
    let groups = client.fetch_group_list(Some(group), observer::PATIENCE).map_err(|error| unavailable(&what, &error))?;
    // rdkafka panics if a member's text is not UTF-8.
    let found = catch_unwind(AssertUnwindSafe(|| {
        groups.groups().iter().find(|known| known.name() == group).map(|known| Group {
            stable: known.state() == "Stable",
            members: known
                .members()
                .iter()
                .map(|member| GroupMember {
                    id: member.id().to_owned(),
                    client: member.client_id().to_owned(),
                    host: member.client_host().trim_start_matches('/').to_owned(),
                    topics: topics(member.metadata().unwrap_or_default()).unwrap_or_default(),
                    partitions: partitions(member.assignment().unwrap_or_default()).unwrap_or_default(),
                })
                .collect(),
        })
    }));
    Ok(found.ok().flatten().unwrap_or_default())
}

/// Decodes the topics of a subscription of the classic consumer protocol: a version, then the topics.
fn topics(mut subscription: &[u8]) -> Option<Vec<String>> {
    let from = &mut subscription;
    take(from, 2)?;
    (0..number(from)?).map(|_| text(from)).collect()
}

/// Decodes the partitions of an assignment of the classic consumer protocol: a version, then each topic with its name and
/// partitions.
fn partitions(mut assignment: &[u8]) -> Option<Vec<TopicPartition>> {
    let from = &mut assignment;
    take(from, 2)?;
    let mut all = Vec::new();
    for _ in 0..number(from)? {
        let topic = text(from)?;
        for _ in 0..number(from)? {
            all.push(TopicPartition::new(&topic, number(from)?));
        }
    }
    Some(all)
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

fn number(from: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(take(from, 4)?.try_into().ok()?))
}

fn text(from: &mut &[u8]) -> Option<String> {
    let length = i16::from_be_bytes(take(from, 2)?.try_into().ok()?);
    Some(String::from_utf8_lossy(take(from, usize::try_from(length).ok()?)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_decoded_and_an_incomplete_one_is_none() {
        let bytes = b"\0\x01\0\0\0\x01\0\x06orders\0\0\0\x02\0\0\0\x03\0\0\0\x05\0\0\0\0";
        assert_eq!(partitions(bytes), Some(vec![TopicPartition::new("orders", 3), TopicPartition::new("orders", 5)]));
        for length in 0..bytes.len() - 4 {
            assert_eq!(partitions(&bytes[..length]), None, "{length}");
        }
        assert_eq!(partitions(b"\0\x01\x7f\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn a_subscription_is_decoded_and_an_incomplete_one_is_none() {
        let bytes = b"\0\x03\0\0\0\x02\0\x06orders\0\x08payments\0\0\0\0";
        assert_eq!(topics(bytes), Some(vec!["orders".to_owned(), "payments".to_owned()]));
        for length in 0..bytes.len() - 4 {
            assert_eq!(topics(&bytes[..length]), None, "{length}");
        }
        assert_eq!(topics(b"\0\x01\x7f\xff\xff\xff\xff\xff"), None);
    }
}
