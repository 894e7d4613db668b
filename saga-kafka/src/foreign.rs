//! Members of a group that are not processes of the service: no handler runs for the records of their partitions.
//!
//! A process is recognized by its `client.id`. If it is not configured, every member with another `client.id` is foreign. If it
//! is configured, the processes may have been given different ones, so a foreign member is only a warning.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::consumer::Consumer as _;
use saga_core::transport::{Condition, TransportError};

use crate::{
    KafkaConfig,
    error::unavailable,
    observer::{self, Client, Observer},
    settings::CLIENT_ID,
    time::now,
};

/// How often the members of a group are listed.
const ASK: Duration = Duration::from_secs(10);

/// The result for each group, and its time.
#[derive(Default)]
pub(crate) struct Foreign(Mutex<BTreeMap<String, (Vec<Condition>, Instant)>>);

/// A member that is not a process of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stranger {
    client: String,
    host: String,
    partitions: Vec<String>,
}

impl Foreign {
    /// Returns the foreign members of `group` that have partitions, as of a few seconds ago.
    pub(crate) async fn of(
        &self,
        config: &KafkaConfig,
        observer: &Observer,
        group: &str,
    ) -> Result<Vec<Condition>, TransportError> {
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((found, at)) = known.get(group)
                && at.elapsed() < ASK
            {
                return Ok(found.clone());
            }
        }
        let given = config.client.get("client.id").cloned();
        let (name, own) = (group.to_owned(), given.clone().unwrap_or_else(|| CLIENT_ID.to_owned()));
        let strangers = observer.ask(move |client| strangers(client, &name, &own)).await?;
        let found: Vec<_> = strangers.into_iter().map(|stranger| stranger.condition(group, given.is_none())).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(group.to_owned(), (found.clone(), now()));
        Ok(found)
    }
}

impl Stranger {
    fn condition(self, group: &str, critical: bool) -> Condition {
        let Self { client, host, partitions } = self;
        let detail = format!(
            "the group `{group}` has a member that is no instance of this service: client `{client}` at {host} has {}, and their records \
             are not handled here; stop it, or give it another group (an instance is known by its `client.id`, which has to be the same \
             for all)",
            partitions.join(", ")
        );
        Condition { name: "foreign_member", subject: client, critical, detail }
    }
}

fn strangers(client: &Client, group: &str, own: &str) -> Result<Vec<Stranger>, TransportError> {
    let what = format!("asking for the members of the group `{group}`");
    let groups = client.fetch_group_list(Some(group), observer::PATIENCE).map_err(|error| unavailable(&what, &error))?;
    // rdkafka panics if a member's text is not UTF-8.
    let found = catch_unwind(AssertUnwindSafe(|| {
        let members = groups.groups().iter().filter(|known| known.name() == group).flat_map(|known| known.members());
        members
            .filter(|member| member.client_id() != own)
            .map(|member| Stranger {
                client: member.client_id().to_owned(),
                host: member.client_host().trim_start_matches('/').to_owned(),
                partitions: partitions(member.assignment().unwrap_or_default()).unwrap_or_default(),
            })
            .filter(|stranger| !stranger.partitions.is_empty())
            .collect::<Vec<_>>()
    }));
    Ok(found.unwrap_or_default())
}

/// Decodes the partitions of an assignment of the classic consumer protocol: a version, then each topic with its name and
/// partitions.
fn partitions(mut assignment: &[u8]) -> Option<Vec<String>> {
    fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = from.split_at_checked(count)?;
        *from = rest;
        Some(taken)
    }
    fn number(from: &mut &[u8]) -> Option<i32> {
        Some(i32::from_be_bytes(take(from, 4)?.try_into().ok()?))
    }
    let from = &mut assignment;
    take(from, 2)?;
    let mut all = Vec::new();
    for _ in 0..number(from)? {
        let length = i16::from_be_bytes(take(from, 2)?.try_into().ok()?);
        let topic = String::from_utf8_lossy(take(from, usize::try_from(length).ok()?)?).into_owned();
        for _ in 0..number(from)? {
            all.push(format!("{topic}-{}", number(from)?));
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_a_broken_one_is_none() {
        let bytes = b"\0\x01\0\0\0\x01\0\x06orders\0\0\0\x02\0\0\0\x03\0\0\0\x05\0\0\0\0";
        assert_eq!(partitions(bytes), Some(vec!["orders-3".to_owned(), "orders-5".to_owned()]));
        for length in 0..bytes.len() - 4 {
            assert_eq!(partitions(&bytes[..length]), None, "{length}");
        }
        assert_eq!(partitions(b"\0\x01\x7f\xff\xff\xff\xff\xff"), None);
    }
}
