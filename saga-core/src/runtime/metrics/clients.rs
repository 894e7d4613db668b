//! The series of the transport's clients: what they say of themselves, as far as it concerns one service.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Counter, Gauge, Metrics};
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
    for (name, help) in [
        (QUEUED_RECORDS, "Records that wait in a client of the log, to be sent or to be taken."),
        (QUEUED_BYTES, "Bytes that wait in a client of the log, to be sent or to be taken."),
        (BROKER_UP, "1 while the connection to a broker stands, else 0."),
        (BROKER_RTT, "Median time that a broker took to answer of late, in seconds."),
        (BROKER_WAITING, "Requests that wait to be sent to a broker, or for its answer."),
        (FETCHED, "Records of a partition that the client has fetched and that were not taken yet."),
    ] {
        metrics.describe_gauge(name, help);
    }
}

/// The series of the clients that a service uses. A client that was replaced goes on in the series of the one before it, and a
/// broker or partition that is gone stays, as 0.
#[derive(Debug)]
pub(crate) struct ClientSeries {
    metrics: Metrics,
    /// The service, which is also the name of its group.
    service: Arc<str>,
    clients: BTreeMap<Kind, OneClient>,
    brokers: BTreeMap<(Kind, String), OneBroker>,
    partitions: BTreeMap<TopicPartition, Gauge>,
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
    queued_records: Gauge,
    queued_bytes: Gauge,
    rebalances: Total,
}

#[derive(Debug)]
struct OneBroker {
    up: Gauge,
    rtt_seconds: Gauge,
    waiting: Gauge,
    timeouts: Total,
    disconnects: Total,
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
        let (mut brokers, mut partitions) = (BTreeSet::new(), BTreeSet::new());
        for client in statistics {
            let kind = match &client.group {
                Some(group) if **group == *self.service => Kind::Consumer,
                Some(_) => continue,
                None => Kind::Producer,
            };
            self.clients.entry(kind).or_insert_with(|| OneClient::new(&self.metrics, kind)).show(client);
            for broker in &client.brokers {
                let key = (kind, broker.address.clone());
                let series = self.brokers.entry(key.clone());
                series.or_insert_with(|| OneBroker::new(&self.metrics, kind, &broker.address)).show(broker);
                brokers.insert(key);
            }
            for known in &client.partitions {
                let fetched = self.partitions.entry(known.partition.clone());
                fetched.or_insert_with(|| fetched_of(&self.metrics, &known.partition)).set_count(known.queued_records);
                partitions.insert(&known.partition);
            }
        }
        for (_, gone) in self.brokers.iter().filter(|(key, _)| !brokers.contains(*key)) {
            gone.up.set_count(0);
            gone.waiting.set_count(0);
        }
        for (_, gone) in self.partitions.iter().filter(|(partition, _)| !partitions.contains(*partition)) {
            gone.set_count(0);
        }
    }
}

fn fetched_of(metrics: &Metrics, partition: &TopicPartition) -> Gauge {
    metrics.gauge(FETCHED, &[("topic", &partition.topic), ("partition", &partition.partition.to_string())])
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
            queued_records: metrics.gauge(QUEUED_RECORDS, &labels),
            queued_bytes: metrics.gauge(QUEUED_BYTES, &labels),
            rebalances: Total::new(metrics.counter(REBALANCES, &labels)),
        }
    }

    fn show(&mut self, client: &ClientStatistics) {
        self.records.is(client.records);
        self.queued_records.set_count(client.queued_records);
        self.queued_bytes.set_count(client.queued_bytes);
        self.rebalances.is(client.rebalances);
    }
}

impl OneBroker {
    fn new(metrics: &Metrics, kind: Kind, address: &str) -> Self {
        let labels = [("client", kind.as_str()), ("broker", address)];
        Self {
            up: metrics.gauge(BROKER_UP, &labels),
            rtt_seconds: metrics.gauge(BROKER_RTT, &labels),
            waiting: metrics.gauge(BROKER_WAITING, &labels),
            timeouts: Total::new(metrics.counter(BROKER_TIMEOUTS, &labels)),
            disconnects: Total::new(metrics.counter(BROKER_DISCONNECTS, &labels)),
        }
    }

    fn show(&mut self, broker: &BrokerStatistics) {
        self.up.set_count(u64::from(broker.up));
        if let Some(micros) = broker.rtt_micros {
            self.rtt_seconds.set(micros as f64 / 1e6);
        }
        self.waiting.set_count(broker.waiting_requests);
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
                "sagas_broker_up{client=\"consumer\",broker=\"kafka:9092\"} 0",
                "sagas_broker_waiting_requests{client=\"consumer\",broker=\"kafka:9092\"} 0",
                "sagas_partition_fetched_records{topic=\"orders\",partition=\"4\"} 0",
            ],
        );
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
        let brokers = vec![BrokerStatistics { address: "b".into(), ..BrokerStatistics::default() }];
        let partition = TopicPartition::new("orders", 0);
        let partitions = vec![PartitionStatistics { partition, lag: None, queued_records: 0, next: 0, end: 0, blocked: 0 }];
        ClientSeries::new(&metrics, &"billing".into()).show(&[ClientStatistics { brokers, partitions, ..consumer("billing") }]);
        let text = metrics.render();
        let named =
            |start: &str| text.lines().filter_map(|line| line.strip_prefix(start)?.split(' ').next()).collect::<BTreeSet<_>>();
        assert_eq!(named("# TYPE "), named("# HELP "));
        assert_eq!(named("# TYPE ").len(), 10);
    }
}
