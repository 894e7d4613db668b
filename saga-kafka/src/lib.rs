//! The Apache Kafka transport of `sagas`, on librdkafka: [`Kafka`].
//!
//! A service that ran on the embedded log runs on Kafka when it is given this transport instead; nothing else of it changes.
//! What is promised of deliveries rests on the service's database and not on Kafka's transactions, so that Kafka is asked for
//! little: records in order per key, and offsets that are committed after the database has what they stand for.
//!
//! - **One producer per process**, idempotent, with `acks=all`. A key has the partition that Java's clients give it.
//! - **One thread per consumer** owns the client: it polls, answers rebalances, pauses and resumes, and never waits for the
//!   runtime. Nothing of the client is ever called on a thread of the runtime that could block.
//! - **A partition that moves** is drained first, up to a deadline; one that was lost is never committed. Partitions move one by
//!   one (`cooperative-sticky`), and those that stay are read on.
//! - **Gaps are told**, not jumped over: see [`Delivery::Gap`](saga_core::transport::Delivery::Gap).
//! - **Offsets that are no records**, as ends of transactions, are passed: see
//!   [`Delivery::Passed`](saga_core::transport::Delivery::Passed).
//! - **Topics have identities**, Kafka's topic ids: one that was created again is another log.

// All of it is in `member::native`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

pub mod config;
mod error;
mod foreign;
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

pub use config::KafkaConfig;
pub use kafka::Kafka;
