//! The series of the transport's clients, from their own statistics, as far as they concern one service.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Counter, Metrics, PassingGauge};
use crate::{
    message::TopicPartition,
    transport::{BrokerStatistics, ClientStatistics},
};

const RECORDS: &str = "sagas_client_records_total";
const QUEUED_RECORDS: &str = "sagas_client_queued_records";
const QUEUED_BYTES: &str = "sagas_client_queued_bytes";
const REBALANCES: &str = "sagas_client_rebalances_total";
const BROKER_UP: &str = "sagas_broker_up";
const BROKER_RTT: &str = "sagas_broker_rtt_seconds";
const BROKER_WAITING: &str = "sagas_broker_waiting_requests";
const BROKER_TIMEOUTS: &str = "sagas_broker_timeouts_total";
const BROKER_DISCONNECTS: &str = "sagas_broker_disconnects_total";
const FETCHED: &str = "sagas_partition_fetched_records";

pub(super) fn describe(metrics: &Metrics) {
    for (name, help) in [
        (RECORDS, "Records that a client of the log has sent or received."),
        (REBALANCES, "Rebalances of the group that the consumer went through."),
        (BROKER_TIMEOUTS, "Requests that a broker has not answered in time."),
        (BROKER_DISCONNECTS, "Times the connection to a broker was lost."),
    ] {
        metrics.describe_counter(name, help);
    }
}

/// Returns the help text of a gauge of a client.
pub(super) fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        QUEUED_RECORDS => "Records that wait in a client of the log, to be sent or to be taken.",
        QUEUED_BYTES => "Bytes that wait in a client of the log, to be sent or to be taken.",
        BROKER_UP => "1 while the connection to a broker stands, else 0.",
        BROKER_RTT => "Recent median of the time that a broker took to answer, in seconds.",
        BROKER_WAITING => "Requests that wait to be sent to a broker, or for its answer.",
        FETCHED => "Records of a partition that the client has fetched and that were not taken yet.",
        _ => return None,
    })
}

/// The series of the clients that a service uses. The counters continue when a client is replaced by another. The gauges of a client,
/// broker or partition disappear with it.
#[derive(Debug)]
pub(crate) struct ClientSeries {
    metrics: Metrics,
    /// The service, whose name is also that of its group.
    service: Arc<str>,
    clients: BTreeMap<Kind, OneClient>,
    brokers: BTreeMap<(Kind, String), OneBroker>,
    partitions: BTreeMap<TopicPartition, PassingGauge>,
}

/// The kind of a client, which is a label of its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Consumer,
    Producer,
}

#[derive(Debug)]
struct OneClient {
    records: Total,
    queued: Option<[PassingGauge; 2]>,
    rebalances: Rebalances,
}

#[derive(Debug)]
struct OneBroker {
    gauges: Option<BrokerGauges>,
    timeouts: Total,
    disconnects: Total,
}

/// The gauges of a known broker.
#[derive(Debug)]
struct BrokerGauges {
    up: PassingGauge,
    rtt_seconds: PassingGauge,
    waiting: PassingGauge,
}

/// A counter over clients that report totals. The total of each client begins at 0.
#[derive(Debug)]
struct Total {
    counter: Counter,
    /// The last reported total of each client.
    last: BTreeMap<String, u64>,
}

/// The number of rebalances of a group. Each member reports all rebalances that it has been through, at a time of its own, so the member
/// with the most is counted.
#[derive(Debug)]
struct Rebalances {
    counter: Counter,
    counted: u64,
    /// For each member, the total that it reported last, and the number of counted rebalances that this corresponds to.
    members: BTreeMap<String, (u64, u64)>,
}

impl ClientSeries {
    pub(crate) fn new(metrics: &Metrics, service: &Arc<str>) -> Self {
        Self {
            metrics: metrics.clone(),
            service: Arc::clone(service),
            clients: BTreeMap::new(),
            brokers: BTreeMap::new(),
            partitions: BTreeMap::new(),
        }
    }

    /// Updates the series from the statistics of the clients: those of the service's group, of which there can be one for each topic, and
    /// the producer, which all services share.
    pub(crate) fn show(&mut self, statistics: &[ClientStatistics]) {
        let (mut kinds, mut brokers, mut partitions) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for client in statistics {
            let kind = match &client.group {
                Some(group) if **group == *self.service => Kind::Consumer,
                Some(_) => continue,
                None => Kind::Producer,
            };
            kinds.entry(kind).or_insert_with(Vec::new).push(client);
            for broker in &client.brokers {
                brokers.entry((kind, broker.address.clone())).or_insert_with(Vec::new).push((&*client.client, broker));
            }
            for known in &client.partitions {
                let fetched = self.partitions.entry(known.partition.clone());
                fetched.or_insert_with(|| fetched_of(&self.metrics, &known.partition)).set_count(known.queued_records);
                partitions.insert(&known.partition);
            }
        }
        for (kind, clients) in &kinds {
            let series = self.clients.entry(*kind).or_insert_with(|| OneClient::new(&self.metrics, *kind));
            series.show(&self.metrics, *kind, clients);
        }
        for (key, told) in &brokers {
            let (kind, address) = key;
            let series = self.brokers.entry(key.clone()).or_insert_with(|| OneBroker::new(&self.metrics, *kind, address));
            series.show(&self.metrics, *kind, address, told);
        }
        // Counters are kept: they continue when the client or broker returns.
        for (_, gone) in self.clients.iter_mut().filter(|(kind, _)| !kinds.contains_key(kind)) {
            gone.queued = None;
            gone.rebalances.members.clear();
        }
        for (_, gone) in self.brokers.iter_mut().filter(|(key, _)| !brokers.contains_key(*key)) {
            gone.gauges = None;
        }
        self.partitions.retain(|partition, _| partitions.contains(partition));
    }
}

fn fetched_of(metrics: &Metrics, partition: &TopicPartition) -> PassingGauge {
    metrics.passing(FETCHED, &[("topic", &partition.topic), ("partition", &partition.partition.to_string())])
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Producer => "producer",
        }
    }
}

impl OneClient {
    fn new(metrics: &Metrics, kind: Kind) -> Self {
        let labels = [("client", kind.as_str())];
        Self {
            records: Total::new(metrics.counter(RECORDS, &labels)),
            queued: None,
            rebalances: Rebalances { counter: metrics.counter(REBALANCES, &labels), counted: 0, members: BTreeMap::new() },
        }
    }

    fn show(&mut self, metrics: &Metrics, kind: Kind, clients: &[&ClientStatistics]) {
        self.records.add(clients.iter().map(|client| (&*client.client, client.records)));
        self.rebalances.add(clients.iter().map(|client| (&*client.client, client.rebalances)));
        let labels = [("client", kind.as_str())];
        let [records, bytes] =
            self.queued.get_or_insert_with(|| [QUEUED_RECORDS, QUEUED_BYTES].map(|name| metrics.passing(name, &labels)));
        records.set_count(clients.iter().map(|client| client.queued_records).sum());
        bytes.set_count(clients.iter().map(|client| client.queued_bytes).sum());
    }
}

impl OneBroker {
    fn new(metrics: &Metrics, kind: Kind, address: &str) -> Self {
        let labels = [("client", kind.as_str()), ("broker", address)];
        Self {
            gauges: None,
            timeouts: Total::new(metrics.counter(BROKER_TIMEOUTS, &labels)),
            disconnects: Total::new(metrics.counter(BROKER_DISCONNECTS, &labels)),
        }
    }

    /// Updates the series of a broker from the statistics of the clients of one kind.
    fn show(&mut self, metrics: &Metrics, kind: Kind, address: &str, told: &[(&str, &BrokerStatistics)]) {
        let labels = [("client", kind.as_str()), ("broker", address)];
        let gauges = self.gauges.get_or_insert_with(|| BrokerGauges {
            up: metrics.passing(BROKER_UP, &labels),
            rtt_seconds: metrics.passing(BROKER_RTT, &labels),
            waiting: metrics.passing(BROKER_WAITING, &labels),
        });
        // A client connects to a broker only when it needs it, so one connected client is enough.
        gauges.up.set_count(u64::from(told.iter().any(|(_, broker)| broker.up)));
        if let Some(micros) = told.iter().filter_map(|(_, broker)| broker.rtt_micros).max() {
            gauges.rtt_seconds.set(micros as f64 / 1e6);
        }
        gauges.waiting.set_count(told.iter().map(|(_, broker)| broker.waiting_requests).sum());
        self.timeouts.add(told.iter().map(|(client, broker)| (*client, broker.timeouts)));
        self.disconnects.add(told.iter().map(|(client, broker)| (*client, broker.disconnects)));
    }
}

impl Total {
    fn new(counter: Counter) -> Self {
        Self { counter, last: BTreeMap::new() }
    }

    /// Adds the increase of each client's total since the last call.
    fn add<'a>(&mut self, totals: impl Iterator<Item = (&'a str, u64)>) {
        let before = std::mem::take(&mut self.last);
        let mut increase = 0;
        for (client, total) in totals {
            increase += total.checked_sub(before.get(client).copied().unwrap_or(0)).unwrap_or(total);
            self.last.insert(client.to_owned(), total);
        }
        self.counter.add(increase);
    }
}

impl Rebalances {
    fn add<'a>(&mut self, totals: impl Iterator<Item = (&'a str, u64)>) {
        let before = std::mem::take(&mut self.members);
        // It is unknown which of the rebalances that others have reported a new member has been through. Without other members, it has been
        // through none of them.
        let of_new = |total: u64| if before.is_empty() { self.counted + total } else { self.counted.max(total) };
        let through = |(client, total): (&str, u64)| {
            let through = match before.get(client) {
                Some((last, through)) => through + total.checked_sub(*last).unwrap_or(total),
                None => of_new(total),
            };
            (client.to_owned(), (total, through))
        };
        self.members = totals.map(through).collect();
        let most = self.members.values().map(|(_, through)| *through).max().unwrap_or(0);
        self.counter.add(most.saturating_sub(self.counted));
        self.counted = self.counted.max(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::PartitionStatistics;

    fn consumer(group: &str) -> ClientStatistics {
        ClientStatistics { client: "c".into(), group: Some(group.into()), ..ClientStatistics::default() }
    }

    fn shown(metrics: &Metrics) -> BTreeSet<String> {
        let text = metrics.render().replace("{service=\"billing\",", "{");
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
    }

    fn assert_shown(metrics: &Metrics, lines: &[&str]) {
        let shown = shown(metrics);
        for line in lines {
            assert!(shown.contains(*line), "no {line} in {shown:#?}");
        }
    }

    #[test]
    fn a_service_shows_its_own_consumer_and_the_producer() {
        let metrics = Metrics::new("billing");
        let broker = BrokerStatistics {
            address: "kafka:9092".into(),
            id: 1,
            up: true,
            rtt_micros: Some(2_500),
            waiting_requests: 3,
            timeouts: 1,
            disconnects: 2,
        };
        let partition = TopicPartition::new("orders", 4);
        let fetched = PartitionStatistics { partition, lag: Some(9), queued_records: 7, next: 20, end: 29, blocked: 0 };
        let own = ClientStatistics {
            queued_records: 7,
            queued_bytes: 700,
            records: 50,
            rebalances: 2,
            brokers: vec![broker],
            partitions: vec![fetched],
            ..consumer("billing")
        };
        let producer = ClientStatistics { client: "p".into(), records: 5, ..ClientStatistics::default() };
        let mut series = ClientSeries::new(&metrics, &"billing".into());
        series.show(&[own, producer, ClientStatistics { records: 1_000, ..consumer("shipping") }]);
        assert_shown(
            &metrics,
            &[
                "sagas_client_records_total{client=\"consumer\"} 50",
                "sagas_client_records_total{client=\"producer\"} 5",
                "sagas_client_queued_records{client=\"consumer\"} 7",
                "sagas_client_queued_bytes{client=\"consumer\"} 700",
                "sagas_client_rebalances_total{client=\"consumer\"} 2",
                "sagas_broker_up{client=\"consumer\",broker=\"kafka:9092\"} 1",
                "sagas_broker_rtt_seconds{client=\"consumer\",broker=\"kafka:9092\"} 0.0025",
                "sagas_broker_waiting_requests{client=\"consumer\",broker=\"kafka:9092\"} 3",
                "sagas_broker_timeouts_total{client=\"consumer\",broker=\"kafka:9092\"} 1",
                "sagas_broker_disconnects_total{client=\"consumer\",broker=\"kafka:9092\"} 2",
                "sagas_partition_fetched_records{topic=\"orders\",partition=\"4\"} 7",
            ],
        );

        // Consumer, broker and partition no longer exist.
        series.show(&[]);
        assert_shown(
            &metrics,
            &[
                "sagas_client_records_total{client=\"consumer\"} 50",
                "sagas_broker_timeouts_total{client=\"consumer\",broker=\"kafka:9092\"} 1",
            ],
        );
        let text = metrics.render();
        for gauge in
            ["sagas_broker_up", "sagas_broker_waiting", "sagas_broker_rtt", "sagas_partition_fetched", "sagas_client_queued"]
        {
            assert!(!text.contains(&format!("\n{gauge}")), "{gauge} is gone: {text}");
        }
    }

    #[test]
    fn a_client_that_begins_anew_goes_on_counting() {
        let metrics = Metrics::new("billing");
        let mut series = ClientSeries::new(&metrics, &"billing".into());
        for records in [10, 30, 4] {
            series.show(&[ClientStatistics { records, ..consumer("billing") }]);
        }
        assert_shown(&metrics, &["sagas_client_records_total{client=\"consumer\"} 34"]);
    }

    #[test]
    fn the_members_of_a_group_are_shown_as_one() {
        let metrics = Metrics::new("billing");
        let mut series = ClientSeries::new(&metrics, &"billing".into());
        let broker = |up, rtt, timeouts| BrokerStatistics {
            address: "kafka:9092".into(),
            up,
            rtt_micros: Some(rtt),
            waiting_requests: 1,
            timeouts,
            ..BrokerStatistics::default()
        };
        let member = |client: &str, records, rebalances, broker| ClientStatistics {
            client: client.into(),
            records,
            rebalances,
            queued_records: 2,
            brokers: vec![broker],
            ..consumer("billing")
        };
        series.show(&[member("c1", 10, 1, broker(true, 1_000, 1)), member("c2", 20, 2, broker(false, 3_000, 2))]);
        // The second client was replaced, and the first one reports the rebalance that the second one reported before.
        series.show(&[member("c1", 11, 2, broker(true, 1_000, 1)), member("c3", 5, 1, broker(false, 3_000, 4))]);
        assert_shown(
            &metrics,
            &[
                "sagas_client_records_total{client=\"consumer\"} 36",
                "sagas_client_rebalances_total{client=\"consumer\"} 2",
                "sagas_client_queued_records{client=\"consumer\"} 4",
                "sagas_broker_up{client=\"consumer\",broker=\"kafka:9092\"} 1",
                "sagas_broker_rtt_seconds{client=\"consumer\",broker=\"kafka:9092\"} 0.003",
                "sagas_broker_waiting_requests{client=\"consumer\",broker=\"kafka:9092\"} 2",
                "sagas_broker_timeouts_total{client=\"consumer\",broker=\"kafka:9092\"} 7",
            ],
        );
    }

    #[test]
    fn a_rebalance_is_counted_once_whenever_the_members_tell_of_it() {
        let metrics = Metrics::new("billing");
        let mut series = ClientSeries::new(&metrics, &"billing".into());
        let member =
            |number: usize, rebalances| ClientStatistics { client: format!("c{number}"), rebalances, ..consumer("billing") };
        // Ten members. Each reports all rebalances, some time after the previous member.
        let mut told = [0; 10];
        for rebalances in 1..=3 {
            for number in 0..told.len() {
                told[number] = rebalances;
                let known = told.iter().enumerate().filter(|(_, told)| **told > 0);
                series.show(&known.map(|(number, told)| member(number, *told)).collect::<Vec<_>>());
            }
        }
        let counted = |expected: u64| {
            assert_shown(&metrics, &[&format!("sagas_client_rebalances_total{{client=\"consumer\"}} {expected}")]);
        };
        counted(3);
        // One member is replaced, and takes part in the fourth rebalance with the others.
        let others = |rebalances| (1..10).map(move |number| member(number, rebalances));
        series.show(&others(4).chain([member(10, 1)]).collect::<Vec<_>>());
        counted(4);
        series.show(&others(5).chain([member(10, 2)]).collect::<Vec<_>>());
        counted(5);
        // All members are gone, and a new one joins the group.
        series.show(&[]);
        series.show(&[member(11, 2)]);
        counted(7);
    }

    #[test]
    fn every_series_says_what_it_is() {
        let metrics = Metrics::new("billing");
        let brokers = vec![BrokerStatistics { address: "b".into(), rtt_micros: Some(1), ..BrokerStatistics::default() }];
        let partition = TopicPartition::new("orders", 0);
        let partitions = vec![PartitionStatistics { partition, lag: None, queued_records: 0, next: 0, end: 0, blocked: 0 }];
        let mut series = ClientSeries::new(&metrics, &"billing".into());
        series.show(&[ClientStatistics { brokers, partitions, ..consumer("billing") }]);
        let text = metrics.render();
        let named =
            |start: &str| text.lines().filter_map(|line| line.strip_prefix(start)?.split(' ').next()).collect::<BTreeSet<_>>();
        assert_eq!(named("# TYPE "), named("# HELP "));
        assert_eq!(named("# TYPE ").len(), 10);
    }
}
