//! What the clients say of themselves, every few seconds.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{Statistics, types::RDKafkaErrorCode as Code};
use saga_core::{
    message::TopicPartition,
    transport::{BrokerStatistics, ClientStatistics, Condition, PartitionStatistics},
};

use crate::{
    error,
    refusals::Refusals,
    time::now,
    troubles::{GROUP_REFUSED, Troubles},
};

/// How long a group counts as read after its member last said so: longer than a rebalance takes, and than some statistics.
const STEADY: Duration = Duration::from_secs(20);

/// The latest statistics of every client, and what the members know to be wrong.
#[derive(Debug, Default)]
pub(crate) struct Board {
    clients: Mutex<BTreeMap<String, ClientStatistics>>,
    /// How the members are with their groups.
    groups: Mutex<BTreeMap<String, Membership>>,
    refusals: Mutex<Refusals>,
    /// What the members of groups know to be wrong.
    pub(crate) troubles: Troubles,
}

/// How a member is with its group, when it last said so.
#[derive(Debug)]
struct Membership {
    /// A broker that coordinates the group is known.
    coordinated: bool,
    /// When no rebalance was under way.
    steady: Option<Instant>,
    /// The partitions that it would read of brokers to which it has no connection, by the broker's address.
    lacking: BTreeMap<String, Vec<TopicPartition>>,
}

impl Board {
    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Membership>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A broker refuses the member of `group`, or the producer. Says whether that is new.
    pub(crate) fn refused(&self, group: Option<&str>, code: Code, reason: &str, now: Instant) -> bool {
        let detail = error::unavailable_by("it refuses this process", code, reason).to_string();
        self.refusals().heard(group, reason, detail, now)
    }

    /// Whether the group has been read lately as it should be.
    pub(crate) fn works(&self, group: &str, now: Instant) -> bool {
        let steady = self.groups().get(group).and_then(|known| known.steady);
        steady.is_some_and(|steady| now.duration_since(steady) < STEADY)
    }

    /// What is wrong for the member of `group`.
    pub(crate) fn conditions(&self, group: &str, now: Instant) -> Vec<Condition> {
        let mut found = self.troubles.of(group);
        let works = self.works(group, now);
        let groups = self.groups();
        let lacking = |address| groups.get(group).and_then(|known| known.lacking.get(address)).map_or(&[][..], |lacking| lacking);
        found.extend(self.refusals().of(group, now).into_iter().map(|(address, said)| {
            let lacking = lacking(address);
            let meaning = match (lacking, works) {
                ([], true) => "the other brokers do the work meanwhile".to_owned(),
                ([], false) => format!("the group `{group}` is not read"),
                (lacking, _) => {
                    let lacking: Vec<_> = lacking.iter().map(ToString::to_string).collect();
                    format!("it leads {}, which cannot be read meanwhile", lacking.join(", "))
                }
            };
            let detail = format!("the broker {address}: {said}; {meaning}");
            Condition { name: "broker_refuses", subject: address.to_owned(), critical: !works || !lacking.is_empty(), detail }
        }));
        found
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
            let is_steady = coordinated && said.join_state == "steady";
            let mut groups = self.groups();
            let before = groups.remove(group).and_then(|known| known.steady);
            let steady = if is_steady { Some(now()) } else { before };
            groups.insert(group.to_owned(), Membership { coordinated, steady, lacking: lacking(statistics) });
            drop(groups);
            if is_steady {
                self.troubles.clear(group, GROUP_REFUSED, group);
            }
        }
        for broker in statistics.brokers.values().filter(|broker| broker.state == "UP") {
            self.refusals().connected(group, &broker.name);
        }
        let known = client(group, statistics);
        self.clients().insert(known.client.clone(), known);
    }

    /// Forgets the clients of `group`, which is not read any more.
    pub(crate) fn forget(&self, group: &str) {
        self.clients().retain(|_, client| client.group.as_deref() != Some(group));
        self.groups().remove(group);
        self.refusals().forget(group);
        self.troubles.forget(group);
    }

    pub(crate) fn all(&self) -> Vec<ClientStatistics> {
        self.clients().values().cloned().collect()
    }
}

/// The partitions that a member reads of each broker to which it has no connection for that.
fn lacking(statistics: &Statistics) -> BTreeMap<String, Vec<TopicPartition>> {
    let without =
        statistics.brokers.values().filter(|broker| broker.source != "logical" && broker.nodeid >= 0 && broker.state != "UP");
    let addresses: BTreeMap<_, _> = without.map(|broker| (broker.nodeid, &broker.nodename)).collect();
    let mut lacking: BTreeMap<String, Vec<TopicPartition>> = BTreeMap::new();
    for (topic, known) in &statistics.topics {
        for partition in known.partitions.values().filter(|partition| partition.partition >= 0 && partition.desired) {
            if let Some(address) = addresses.get(&partition.leader) {
                lacking.entry((*address).clone()).or_default().push(TopicPartition::new(topic, partition.partition));
            }
        }
    }
    lacking
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

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Broker, ConsumerGroup, Partition, Topic};

    use super::*;

    const REASON: &str = "sasl_ssl://kafka-2:9093/2: SASL authentication error: refused";

    /// What the member says of itself: its state in the group, and that of its connection to broker 2.
    fn said(join_state: &str, connection: &str, leader: i32) -> Statistics {
        let broker = |id: i32, state: &str| Broker {
            name: format!("sasl_ssl://kafka-{id}:9093/{id}"),
            nodename: format!("kafka-{id}:9093"),
            nodeid: id,
            source: "learned".to_owned(),
            state: state.to_owned(),
            ..Broker::default()
        };
        let partition = Partition { partition: 0, leader, desired: true, ..Partition::default() };
        let topic = Topic { partitions: [(0, partition)].into(), ..Topic::default() };
        Statistics {
            brokers: [broker(1, "UP"), broker(2, connection)].map(|broker| (broker.name.clone(), broker)).into(),
            topics: [("orders".to_owned(), topic)].into(),
            cgrp: Some(ConsumerGroup { state: "up".to_owned(), join_state: join_state.to_owned(), ..ConsumerGroup::default() }),
            ..Statistics::default()
        }
    }

    fn refused(board: &Board, at: Instant) -> Option<(String, bool)> {
        let mut found = board.conditions("order", at);
        assert!(found.len() < 2 && found.iter().all(|condition| condition.name == "broker_refuses"), "{found:?}");
        found.pop().map(|condition| (format!("{}: {}", condition.subject, condition.detail), condition.critical))
    }

    #[test]
    fn a_broker_that_refuses_is_a_warning_while_the_others_do_the_work() {
        let (board, start) = (Board::default(), now());
        board.note(Some("order"), &said("steady", "AUTH_REQ", 1));
        // It says the same every half minute, and the statistics come every five seconds.
        for second in 0..100 {
            let at = start + Duration::from_secs(second);
            if second % 32 == 0 {
                assert_eq!(board.refused(Some("order"), Code::Authentication, REASON, at), second == 0);
            }
            let (text, critical) = refused(&board, start + Duration::from_secs(second % 10)).expect("told all the time");
            assert!(text.starts_with("kafka-2:9093: ") && text.contains("refuses the credentials"), "{text}");
            assert!(text.contains("the other brokers do the work") && !critical, "{text}");
            if second % 5 == 0 {
                board.note(Some("order"), &said("steady", "AUTH_REQ", 1));
            }
        }
        board.note(Some("order"), &said("steady", "UP", 1));
        assert_eq!(refused(&board, start + Duration::from_secs(100)), None);
    }

    #[test]
    fn it_is_critical_where_the_group_is_not_read_or_lacks_partitions() {
        let (board, start) = (Board::default(), now());
        board.note(Some("order"), &said("wait-join", "AUTH_REQ", 1));
        board.refused(Some("order"), Code::SSL, REASON, start);
        assert!(refused(&board, start).is_some_and(|(text, critical)| critical && text.contains("`order` is not read")));
        board.note(Some("order"), &said("steady", "AUTH_REQ", 2));
        assert!(refused(&board, start).is_some_and(|(text, critical)| critical && text.contains("it leads orders-0")));
        board.note(Some("order"), &said("steady", "AUTH_REQ", 1));
        assert!(refused(&board, start).is_some_and(|(_, critical)| !critical));
        // A rebalance is not yet a group that is not read.
        board.note(Some("order"), &said("wait-join", "AUTH_REQ", 1));
        assert!(refused(&board, start).is_some_and(|(_, critical)| !critical));
        assert!(refused(&board, start + STEADY + Duration::from_secs(1)).is_some_and(|(_, critical)| critical));
    }
}
