//! Statistics of the clients of a transport.

use crate::message::TopicPartition;

/// The statistics of one client of this process. A transport without clients has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientStatistics {
    /// The name of the client, as in its log lines.
    pub client: String,
    /// The group of a consumer; `None` for a producer, which all services share.
    pub group: Option<String>,
    /// The number of records in the client that wait to be sent, or to be taken by the consumer.
    pub queued_records: u64,
    /// The size of these records, in bytes.
    pub queued_bytes: u64,
    /// The number of records sent or received since the client was created.
    pub records: u64,
    /// The number of rebalances of the group that the client went through.
    pub rebalances: u64,
    /// The brokers that the client knows.
    pub brokers: Vec<BrokerStatistics>,
    /// The partitions that the client reads.
    pub partitions: Vec<PartitionStatistics>,
}

/// A broker, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerStatistics {
    /// The address, as `host:port`.
    pub address: String,
    /// The number of the broker in the cluster.
    pub id: i32,
    /// Whether the client is connected to the broker.
    pub up: bool,
    /// The median response time since the previous statistics, in microseconds; `None` if there was no request.
    pub rtt_micros: Option<u64>,
    /// The number of requests that wait to be sent or answered.
    pub waiting_requests: u64,
    /// The number of requests that timed out since the client was created.
    pub timeouts: u64,
    /// The number of lost connections since the client was created.
    pub disconnects: u64,
}

/// A partition that a consumer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatistics {
    /// The partition.
    pub partition: TopicPartition,
    /// The number of readable records after the group's committed offset; `None` if either end is unknown.
    pub lag: Option<u64>,
    /// The number of records that the client has fetched and the consumer has not taken.
    pub queued_records: u64,
    /// The next offset to fetch.
    pub next: i64,
    /// The end of the readable records, as of the last fetch: the last stable offset.
    pub end: i64,
    /// The number of offsets from `end` on that cannot be read yet because a transaction is open.
    pub blocked: u64,
}
