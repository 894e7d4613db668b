//! The series of the transport's clients: what they say of themselves, as far as it concerns one service.

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

/// What a gauge of a client shows.
pub(super) fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        QUEUED_RECORDS => "Records that wait in a client of the log, to be sent or to be taken.",
        QUEUED_BYTES => "Bytes that wait in a client of the log, to be sent or to be taken.",
        BROKER_UP => "1 while the connection to a broker stands, else 0.",
        BROKER_RTT => "Median time that a broker took to answer of late, in seconds.",
        BROKER_WAITING => "Requests that wait to be sent to a broker, or for its answer.",
        FETCHED => "Records of a partition that the client has fetched and that were not taken yet.",
        _ => return None,
    })
}

/// The series of the clients that a service uses. A client that was replaced goes on counting where the one before it has ended;
/// the gauges of a client, broker or partition that is gone are gone too.
#[derive(Debug)]
pub(crate) struct ClientSeries {
    metrics: Metrics,
    /// The service, which is also the name of its group.
    service: Arc<str>,
    clients: BTreeMap<Kind, OneClient>,
    brokers: BTreeMap<(Kind, String), OneBroker>,
    partitions: BTreeMap<TopicPartition, PassingGauge>,
}

/// What a client does: the label by which its series are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Consumer,
    Producer,
}

#[derive(Debug)]
struct OneClient {
    records: Total,
    queued: Option<[PassingGauge; 2]>,
    rebalances: Total,
}

#[derive(Debug)]
struct OneBroker {
    gauges: Option<BrokerGauges>,
    timeouts: Total,
    disconnects: Total,
}

/// What is shown of a broker as long as it is known.
#[derive(Debug)]
struct BrokerGauges {
    up: PassingGauge,
    rtt_seconds: PassingGauge,
    waiting: PassingGauge,
}

/// A counter whose total is told, by a client that begins at 0 when it is made anew.
#[derive(Debug)]
struct Total {
    counter: Counter,
    last: u64,
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

    /// Shows what the clients say: those of the service's own group, and the producer, which all services share.
    pub(crate) fn show(&mut self, statistics: &[ClientStatistics]) {
        let (mut kinds, mut brokers, mut partitions) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for client in statistics {
            let kind = match &client.group {
                Some(group) if **group == *self.service => Kind::Consumer,
                Some(_) => continue,
                None => Kind::Producer,
            };
            kinds.insert(kind);
            let series = self.clients.entry(kind).or_insert_with(|| OneClient::new(&self.metrics, kind));
            series.show(&self.metrics, kind, client);
            for broker in &client.brokers {
                let key = (kind, broker.address.clone());
                let series = self.brokers.entry(key.clone());
                let series = series.or_insert_with(|| OneBroker::new(&self.metrics, kind, &broker.address));
                series.show(&self.metrics, kind, broker);
                brokers.insert(key);
            }
            for known in &client.partitions {
                let fetched = self.partitions.entry(known.partition.clone());
                fetched.or_insert_with(|| fetched_of(&self.metrics, &known.partition)).set_count(known.queued_records);
                partitions.insert(&known.partition);
            }
        }
        // Their counters stay: a total goes on where it was when they come back.
        for (_, gone) in self.clients.iter_mut().filter(|(kind, _)| !kinds.contains(kind)) {
            gone.queued = None;
        }
        for (_, gone) in self.brokers.iter_mut().filter(|(key, _)| !brokers.contains(*key)) {
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
            rebalances: Total::new(metrics.counter(REBALANCES, &labels)),
        }
    }

    fn show(&mut self, metrics: &Metrics, kind: Kind, client: &ClientStatistics) {
        self.records.is(client.records);
        self.rebalances.is(client.rebalances);
        let labels = [("client", kind.as_str())];
        let [records, bytes] =
            self.queued.get_or_insert_with(|| [QUEUED_RECORDS, QUEUED_BYTES].map(|name| metrics.passing(name, &labels)));
        records.set_count(client.queued_records);
        bytes.set_count(client.queued_bytes);
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

    fn show(&mut self, metrics: &Metrics, kind: Kind, broker: &BrokerStatistics) {
        let labels = [("client", kind.as_str()), ("broker", broker.address.as_str())];
        let gauges = self.gauges.get_or_insert_with(|| BrokerGauges {
            up: metrics.passing(BROKER_UP, &labels),
            rtt_seconds: metrics.passing(BROKER_RTT, &labels),
            waiting: metrics.passing(BROKER_WAITING, &labels),
        });
        gauges.up.set_count(u64::from(broker.up));
        if let Some(micros) = broker.rtt_micros {
            gauges.rtt_seconds.set(micros as f64 / 1e6);
        }
        gauges.waiting.set_count(broker.waiting_requests);
        self.timeouts.is(broker.timeouts);
        self.disconnects.is(broker.disconnects);
    }
}

impl Total {
    fn new(counter: Counter) -> Self {
        Self { counter, last: 0 }
    }

    fn is(&mut self, total: u64) {
        self.counter.add(if total < self.last { total } else { total - self.last });
        self.last = total;
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

        // The consumer is gone, and with it the broker and the partition.
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
