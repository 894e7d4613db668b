//! What the clients say of themselves, every few seconds.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rdkafka::Statistics;
use saga_core::{
    message::TopicPartition,
    transport::{BrokerStatistics, ClientStatistics, PartitionStatistics},
};

use crate::troubles::{GROUP_REFUSED, Troubles};

/// The latest statistics of every client, and what the members know to be wrong.
#[derive(Debug, Default)]
pub(crate) struct Board {
    clients: Mutex<BTreeMap<String, ClientStatistics>>,
    /// How the members are with their groups.
    groups: Mutex<BTreeMap<String, Membership>>,
    /// What the members of groups know to be wrong.
    pub(crate) troubles: Troubles,
}

/// How a member is with its group, when it last said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Membership {
    /// A broker that coordinates the group is known.
    coordinated: bool,
    /// No rebalance is under way.
    steady: bool,
}

impl Board {
    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Membership>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a broker coordinates the group, where its member has said anything.
    pub(crate) fn coordinates(&self, group: &str) -> Option<bool> {
        self.groups().get(group).map(|known| known.coordinated)
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<String, ClientStatistics>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, group: Option<&str>, statistics: &Statistics) {
        if let (Some(group), Some(said)) = (group, &statistics.cgrp) {
            let coordinated = said.state == "up";
            let steady = coordinated && said.join_state == "steady";
            self.groups().insert(group.to_owned(), Membership { coordinated, steady });
            if steady {
                self.troubles.clear(group, GROUP_REFUSED, group);
            }
        }
        let known = client(group, statistics);
        self.clients().insert(known.client.clone(), known);
    }

    /// Forgets the clients of `group`, which is not read any more.
    pub(crate) fn forget(&self, group: &str) {
        self.clients().retain(|_, client| client.group.as_deref() != Some(group));
        self.groups().remove(group);
        self.troubles.forget(group);
    }

    pub(crate) fn all(&self) -> Vec<ClientStatistics> {
        self.clients().values().cloned().collect()
    }
}

fn client(group: Option<&str>, statistics: &Statistics) -> ClientStatistics {
    let mut brokers: Vec<_> = statistics.brokers.values().filter(|known| known.nodeid >= 0).map(broker).collect();
    brokers.sort_by_key(|broker| broker.id);
    let read = || {
        let all = statistics.topics.iter().flat_map(|(topic, known)| known.partitions.values().map(move |known| (topic, known)));
        all.filter(|(_, known)| group.is_some() && known.partition >= 0 && known.desired)
    };
    let mut partitions: Vec<_> = read().map(|(topic, known)| partition(topic, known)).collect();
    partitions.sort_by(|one, other| one.partition.cmp(&other.partition));
    let is_reader = group.is_some();
    ClientStatistics {
        client: statistics.name.clone(),
        group: group.map(ToOwned::to_owned),
        queued_records: match is_reader {
            true => partitions.iter().map(|partition| partition.queued_records).sum(),
            false => statistics.msg_cnt,
        },
        queued_bytes: if is_reader { read().map(|(_, known)| known.fetchq_size).sum() } else { statistics.msg_size },
        records: count(if is_reader { statistics.rxmsgs } else { statistics.txmsgs }),
        rebalances: statistics.cgrp.as_ref().map_or(0, |group| count(group.rebalance_cnt)),
        brokers,
        partitions,
    }
}

fn broker(known: &rdkafka::statistics::Broker) -> BrokerStatistics {
    BrokerStatistics {
        address: known.nodename.clone(),
        id: known.nodeid,
        up: known.state == "UP",
        rtt_micros: known.rtt.as_ref().filter(|rtt| rtt.cnt > 0).map(|rtt| count(rtt.p50)),
        waiting_requests: count(known.outbuf_cnt + known.waitresp_cnt),
        timeouts: known.req_timeouts,
        disconnects: known.disconnects.map_or(0, count),
    }
}

fn partition(topic: &str, known: &rdkafka::statistics::Partition) -> PartitionStatistics {
    let both = known.committed_offset >= 0 && known.ls_offset >= 0;
    PartitionStatistics {
        partition: TopicPartition::new(topic, known.partition),
        lag: both.then(|| count(known.ls_offset - known.committed_offset)),
        queued_records: count(known.fetchq_cnt),
        next: known.next_offset,
        end: known.ls_offset,
        blocked: if known.ls_offset >= 0 { count(known.hi_offset - known.ls_offset) } else { 0 },
    }
}

/// A number that librdkafka gives with a sign though it cannot be negative.
fn count(number: i64) -> u64 {
    number.max(0).unsigned_abs()
}
