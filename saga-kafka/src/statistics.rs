//! The statistics that the clients report every few seconds.

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
    group_topic::GroupTopic,
    refusals::Refusals,
    time::now,
    troubles::{GROUP_REFUSED, Troubles},
};

/// How long a member counts as reading after its last report that it was: longer than a rebalance and several report intervals.
const STEADY: Duration = Duration::from_secs(20);

/// The latest statistics of every client, and the known problems of the members.
#[derive(Debug, Default)]
pub(crate) struct StatsRegistry {
    /// The statistics of the members, and of the producer (`None`).
    clients: Mutex<BTreeMap<Option<GroupTopic>, ClientStatistics>>,
    /// The state of each member in its group.
    members: Mutex<BTreeMap<GroupTopic, Membership>>,
    refusals: Mutex<Refusals>,
    /// The known problems of the members.
    pub(crate) troubles: Troubles,
}

/// The last reported state of a member in its group.
#[derive(Debug, Default)]
struct Membership {
    /// Whether the coordinator of the group is known.
    coordinated: Option<bool>,
    /// When the member last had no rebalance in progress.
    steady: Option<Instant>,
    /// Whether the member has joined and has no partitions; the newer protocol has no join state for this.
    idle: bool,
    /// The partitions that the member should read from brokers to which it has no connection, by the broker's address.
    lacking: BTreeMap<String, Vec<TopicPartition>>,
}

impl Membership {
    /// Whether the member has been reading recently.
    fn works(&self, now: Instant) -> bool {
        self.idle || self.steady.is_some_and(|steady| now.duration_since(steady) < STEADY)
    }
}

impl StatsRegistry {
    fn members(&self) -> MutexGuard<'_, BTreeMap<GroupTopic, Membership>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a broker refuses a member, or the producer. Returns whether this is new.
    pub(crate) fn refused(&self, member: Option<&GroupTopic>, code: Code, reason: &str, now: Instant) -> bool {
        let detail = error::unavailable_by("it refuses this process", code, reason).to_string();
        self.refusals().heard(member, reason, detail, now)
    }

    /// Whether the member has been reading recently.
    pub(crate) fn works(&self, member: &GroupTopic, now: Instant) -> bool {
        self.members().get(member).is_some_and(|known| known.works(now))
    }

    /// Records whether the member has joined its group and has no partitions.
    pub(crate) fn idle(&self, member: &GroupTopic, idle: bool) {
        self.members().entry(member.clone()).or_default().idle = idle;
    }

    /// The conditions of the members of `group`.
    pub(crate) fn conditions(&self, group: &str, now: Instant) -> Vec<Condition> {
        let mut found = self.troubles.of(group);
        let members = self.members();
        let of_group = || members.iter().filter(|(member, _)| member.group == group).map(|(_, known)| known);
        let works = of_group().next().is_some() && of_group().all(|known| known.works(now));
        let lacking = |address| of_group().filter_map(|known| known.lacking.get(address)).flatten().collect::<Vec<_>>();
        found.extend(self.refusals().of(group, now).into_iter().map(|(address, said)| {
            let lacking = lacking(address);
            let meaning = match (&*lacking, works) {
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

    /// Whether the coordinator of the member's group is known; `None` before the member's first report.
    pub(crate) fn coordinates(&self, member: &GroupTopic) -> Option<bool> {
        self.members().get(member).and_then(|known| known.coordinated)
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<Option<GroupTopic>, ClientStatistics>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, member: Option<&GroupTopic>, statistics: &Statistics) {
        if let (Some(member), Some(said)) = (member, &statistics.cgrp) {
            let coordinated = said.state == "up";
            let is_steady = coordinated && said.join_state == "steady";
            let mut members = self.members();
            let known = members.entry(member.clone()).or_default();
            (known.coordinated, known.lacking) = (Some(coordinated), lacking(statistics));
            if is_steady {
                known.steady = Some(now());
            }
            drop(members);
            if is_steady {
                self.troubles.clear(member, GROUP_REFUSED, &member.group);
            }
        }
        for broker in statistics.brokers.values().filter(|broker| broker.state == "UP") {
            self.refusals().connected(member, &broker.name);
        }
        let known = client(member.map(|member| &*member.group), statistics);
        self.clients().insert(member.cloned(), known);
    }

    /// Removes a member that has left.
    pub(crate) fn forget(&self, member: &GroupTopic) {
        self.clients().remove(&Some(member.clone()));
        self.members().remove(member);
        self.refusals().forget(member);
        self.troubles.forget(member);
    }

    pub(crate) fn all(&self) -> Vec<ClientStatistics> {
        self.clients().values().cloned().collect()
    }
}

/// The partitions of a member for which it has no connection to the leader, by the leader's address.
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

/// Converts a number that librdkafka declares as signed although it cannot be negative.
fn count(number: i64) -> u64 {
    number.max(0).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Broker, ConsumerGroup, Partition, Topic};

    use super::*;

    const REASON: &str = "sasl_ssl://kafka-2:9093/2: SASL authentication error: refused";

    /// The report of a member: its state in the group, and the state of its connection to broker 2.
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

    fn member(group: &str, topic: &str) -> GroupTopic {
        GroupTopic::new(group, topic)
    }

    fn refused(board: &StatsRegistry, at: Instant) -> Option<(String, bool)> {
        let mut found = board.conditions("order", at);
        assert!(found.len() < 2 && found.iter().all(|condition| condition.name == "broker_refuses"), "{found:?}");
        found.pop().map(|condition| (format!("{}: {}", condition.subject, condition.detail), condition.critical))
    }

    #[test]
    fn a_broker_that_refuses_is_a_warning_while_the_others_do_the_work() {
        let (board, start) = (StatsRegistry::default(), now());
        board.note(Some(&member("order", "orders")), &said("steady", "AUTH_REQ", 1));
        // The refusal is repeated every half minute, and the statistics come every five seconds.
        for second in 0..100 {
            let at = start + Duration::from_secs(second);
            if second % 32 == 0 {
                assert_eq!(board.refused(Some(&member("order", "orders")), Code::Authentication, REASON, at), second == 0);
            }
            let (text, critical) = refused(&board, start + Duration::from_secs(second % 10)).expect("told all the time");
            assert!(text.starts_with("kafka-2:9093: ") && text.contains("refuses the credentials"), "{text}");
            assert!(text.contains("the other brokers do the work") && !critical, "{text}");
            if second % 5 == 0 {
                board.note(Some(&member("order", "orders")), &said("steady", "AUTH_REQ", 1));
            }
        }
        board.note(Some(&member("order", "orders")), &said("steady", "UP", 1));
        assert_eq!(refused(&board, start + Duration::from_secs(100)), None);
    }

    #[test]
    fn it_is_critical_where_the_group_is_not_read_or_lacks_partitions() {
        let (board, start) = (StatsRegistry::default(), now());
        board.note(Some(&member("order", "orders")), &said("wait-join", "AUTH_REQ", 1));
        board.refused(Some(&member("order", "orders")), Code::SSL, REASON, start);
        assert!(refused(&board, start).is_some_and(|(text, critical)| critical && text.contains("`order` is not read")));
        board.note(Some(&member("order", "orders")), &said("steady", "AUTH_REQ", 2));
        assert!(refused(&board, start).is_some_and(|(text, critical)| critical && text.contains("it leads orders-0")));
        board.note(Some(&member("order", "orders")), &said("steady", "AUTH_REQ", 1));
        assert!(refused(&board, start).is_some_and(|(_, critical)| !critical));
        // A member that has joined and has no partitions does not count.
        let payment = member("payment", "orders");
        board.idle(&payment, true);
        board.refused(Some(&payment), Code::SSL, REASON, start);
        assert!(board.conditions("payment", start).iter().all(|told| !told.critical));
        board.idle(&payment, false);
        assert!(board.conditions("payment", start).iter().all(|told| told.critical));
        // During a rebalance, the group does not yet count as not read.
        board.note(Some(&member("order", "orders")), &said("wait-join", "AUTH_REQ", 1));
        assert!(refused(&board, start).is_some_and(|(_, critical)| !critical));
        assert!(refused(&board, start + STEADY + Duration::from_secs(1)).is_some_and(|(_, critical)| critical));
    }

    #[test]
    fn a_group_works_when_all_of_its_members_do() {
        let (board, start) = (StatsRegistry::default(), now());
        let [orders, payments] = ["orders", "payments"].map(|topic| member("order", topic));
        board.note(Some(&orders), &said("steady", "AUTH_REQ", 1));
        board.note(Some(&payments), &said("wait-join", "AUTH_REQ", 1));
        board.refused(Some(&payments), Code::SSL, REASON, start);
        assert!(refused(&board, start).is_some_and(|(text, critical)| critical && text.contains("is not read")));
        board.note(Some(&payments), &said("steady", "AUTH_REQ", 2));
        assert!(refused(&board, start).is_some_and(|(text, critical)| critical && text.contains("it leads orders-0")));
        board.note(Some(&payments), &said("steady", "AUTH_REQ", 1));
        assert!(refused(&board, start).is_some_and(|(_, critical)| !critical));
        // The connection of one client does not matter for that of another.
        board.note(Some(&orders), &said("steady", "UP", 1));
        assert!(refused(&board, start).is_some());
        board.forget(&payments);
        assert_eq!((refused(&board, start), board.all().len()), (None, 1));
    }
}
