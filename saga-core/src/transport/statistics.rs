//! What the clients of a transport say of themselves.

use crate::message::TopicPartition;

/// What one client of this process says of itself. A transport without clients has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientStatistics {
    /// The client's own name, as in its log.
    pub client: String,
    /// The group, of a consumer; a producer has none, and is everybody's.
    pub group: Option<String>,
    /// Records that wait in the client: to be sent, or to be taken.
    pub queued_records: u64,
    /// Bytes of them.
    pub queued_bytes: u64,
    /// Records sent or received since the client was made.
    pub records: u64,
    /// Rebalances of the group that the client went through.
    pub rebalances: u64,
    /// The brokers it knows.
    pub brokers: Vec<BrokerStatistics>,
    /// The partitions it reads.
    pub partitions: Vec<PartitionStatistics>,
}

/// A broker, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerStatistics {
    /// `host:port`.
    pub address: String,
    /// Its number in the cluster.
    pub id: i32,
    /// Whether the connection stands.
    pub up: bool,
    /// The middle of the times it took to answer, in microseconds, since the last statistics; `None` if it was asked nothing.
    pub rtt_micros: Option<u64>,
    /// Requests that wait to be sent or answered.
    pub waiting_requests: u64,
    /// Requests that got no answer in time, since the client was made.
    pub timeouts: u64,
    /// Times the connection was lost, since the client was made.
    pub disconnects: u64,
}

/// A partition that a consumer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatistics {
    /// The partition.
    pub partition: TopicPartition,
    /// Records behind what the group has committed, where both ends are known.
    pub lag: Option<u64>,
    /// Records that the client has fetched and that were not taken yet.
    pub queued_records: u64,
    /// The next offset that is fetched.
    pub next: i64,
    /// The offset that the next published record will get, as of the last fetch.
    pub end: i64,
    /// Offsets behind `end` that wait for an open transaction to end.
    pub blocked: u64,
}
