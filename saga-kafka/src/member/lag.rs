//! The lag of a group, and the offsets of topics.

use std::collections::BTreeMap;

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer as _, error::KafkaError};
use saga_core::{
    message::TopicPartition,
    time::Timestamp,
    transport::{GroupLag, PartitionOffsets, TransportError},
};

use super::context::named;
use crate::{
    error::{unavailable, unavailable_by},
    observer::{self, Client},
};

/// Returns the lag of `group` on all partitions of `topics`, given with their numbers of partitions. It takes two requests, or
/// three if the group has not committed in every partition. `last` are the ends of the partitions including records of open
/// transactions.
pub(crate) fn lag(
    client: &Client,
    group: &str,
    topics: &BTreeMap<String, i32>,
    last: &BTreeMap<TopicPartition, i64>,
) -> Result<Vec<GroupLag>, TransportError> {
    let partitions =
        || topics.iter().flat_map(|(topic, count)| (0..*count).map(move |number| TopicPartition::new(topic, number)));
    let what = format!("asking how far the group `{group}` is");
    let ask = |list: Result<TopicPartitionList, KafkaError>| {
        let list = list.map_err(|error| unavailable(&what, &error))?;
        let mut offsets = BTreeMap::new();
        for (partition, offset, code) in named(&list) {
            if let Some(code) = code {
                return Err(unavailable_by(&what, code, ""));
            }
            offsets.insert(partition, offset);
        }
        Ok(offsets)
    };
    let committed = ask(client.committed_offsets(list(partitions(), Offset::Invalid), observer::PATIENCE))?;
    let ends = ask(client.offsets_for_times(list(partitions(), Offset::End), observer::PATIENCE))?;
    let fresh: Vec<_> = partitions().filter(|partition| committed.get(partition).is_none_or(|offset| *offset < 0)).collect();
    let oldest = match fresh.is_empty() {
        true => BTreeMap::new(),
        false => ask(client.offsets_for_times(list(fresh.into_iter(), Offset::Beginning), observer::PATIENCE))?,
    };
    let known = |offsets: &BTreeMap<TopicPartition, i64>, partition: &TopicPartition| {
        offsets.get(partition).copied().filter(|offset| *offset >= 0)
    };
    let of = |partition: TopicPartition| {
        let end = known(&ends, &partition).unwrap_or(0);
        let committed = known(&committed, &partition).or_else(|| known(&oldest, &partition)).unwrap_or(0);
        // `last` was read before `end`, so records that were published in between can make it smaller than `end`.
        let blocked = last.get(&partition).map_or(0, |last| (last - end).max(0));
        GroupLag { partition, committed, end, blocked }
    };
    Ok(partitions().map(of).collect())
}

/// Returns the ends of all partitions of `topics`. A client that reads uncommitted records includes those of open transactions.
pub(crate) fn ends(client: &Client, topics: &BTreeMap<String, i32>) -> Result<BTreeMap<TopicPartition, i64>, TransportError> {
    let what = "asking where the partitions of topics end";
    let partitions = topics.iter().flat_map(|(topic, count)| (0..*count).map(move |number| TopicPartition::new(topic, number)));
    let found =
        client.offsets_for_times(list(partitions, Offset::End), observer::PATIENCE).map_err(|error| unavailable(what, &error))?;
    let found = named(&found).map(|(partition, offset, code)| match code {
        Some(code) => Err(unavailable_by(what, code, "")),
        None => Ok((partition, offset)),
    });
    found.collect()
}

/// Returns the bounds of the partitions of `topics`, and the offsets of their first records from `at` on; without `at`, of their
/// oldest records.
pub(crate) fn offsets(
    client: &Client,
    topics: &BTreeMap<String, i32>,
    at: Option<Timestamp>,
) -> Result<Vec<PartitionOffsets>, TransportError> {
    let partitions =
        || topics.iter().flat_map(|(topic, count)| (0..*count).map(move |number| TopicPartition::new(topic, number)));
    let ask = |offset: Offset| {
        let what = "asking which offsets a topic has";
        let list = client
            .offsets_for_times(list(partitions(), offset), observer::PATIENCE)
            .map_err(|error| unavailable(what, &error))?;
        let mut offsets = BTreeMap::new();
        for (partition, offset, code) in named(&list) {
            match code {
                Some(code) => return Err(unavailable_by(what, code, "")),
                None => offsets.insert(partition, offset),
            };
        }
        Ok(offsets)
    };
    let (oldest, ends) = (ask(Offset::Beginning)?, ask(Offset::End)?);
    let found = at.map(|at| ask(Offset::Offset(at.as_millis().max(0)))).transpose()?;
    let of = |partition: TopicPartition| {
        let known = |offsets: &BTreeMap<TopicPartition, i64>| offsets.get(&partition).copied().filter(|offset| *offset >= 0);
        let (oldest, end) = (known(&oldest).unwrap_or(0), known(&ends).unwrap_or(0));
        let at = found.as_ref().map_or(oldest, |found| known(found).unwrap_or(end));
        PartitionOffsets { partition, oldest, end, at }
    };
    Ok(partitions().map(of).collect())
}

fn list(partitions: impl Iterator<Item = TopicPartition>, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for TopicPartition { topic, partition } in partitions {
        // Fails only for offsets that cannot be represented as a number.
        let _ = list.add_partition_offset(&topic, partition, offset);
    }
    list
}
