//! The Apache Kafka transport of `sagas`: how it is configured, so far.

#![forbid(unsafe_code)]

pub mod config;
