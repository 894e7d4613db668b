//! The Apache Kafka transport of `sagas`, built on librdkafka: [`Kafka`].
//!
//! A service that used the embedded log runs on Kafka when it is given this transport; nothing else in the service changes. The
//! delivery guarantees depend on the service's database and not on Kafka transactions. Kafka only has to provide two things: the
//! order of the records of a key, and the storage of offsets, which are committed after the database has committed what they
//! stand for.
//!
//! - **One producer for each process**, idempotent, with `acks=all`. It assigns keys to partitions as Kafka's Java clients do.
//! - **One group member for each topic**, so that the processes of a service share each topic. Kafka balances only the number of
//!   partitions of a member, not how many of each topic.
//! - **One thread for each member** owns its client. It polls, answers rebalances, pauses and resumes, and never waits for the
//!   runtime. No thread of the runtime makes a call to the client that can block.
//! - **A revoked partition** is drained first, up to a deadline. Nothing is committed for a partition that was lost. Rebalances
//!   are incremental (`cooperative-sticky`): partitions that do not move are read without interruption.
//! - **Gaps are reported**, not skipped: see [`Delivery::Gap`](saga_core::transport::Delivery::Gap).
//! - **Offsets without a record**, such as transaction markers, are passed: see
//!   [`Delivery::Passed`](saga_core::transport::Delivery::Passed).
//! - **Topics are identified** by Kafka's topic ids: a topic that was deleted and created again is another log.

// All unsafe code is in `member::native`, which allows it for itself.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod config;
mod error;
mod foreign;
mod group;
mod group_topic;
mod groups;
mod identity;
mod kafka;
mod member;
mod net;
mod observer;
mod producer;
mod refusals;
mod settings;
mod statistics;
mod time;
mod topic_settings;
mod topics;
mod troubles;
mod unassigned;

pub use config::KafkaConfig;
pub use kafka::Kafka;
