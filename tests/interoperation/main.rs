//! Records as other users of Apache Kafka write and read them: with Kafka's own console producer and consumer.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod console;
mod foreign;
mod readable;
