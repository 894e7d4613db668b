//! What the framework costs: consume, handle, publish, on Apache Kafka and PostgreSQL, against loops written by hand with rdkafka
//! and sqlx that do the same inbox, update and outbox work.
//!
//! ```text
//! scripts/kafka start && scripts/postgres start
//! cargo run --release -p sagas-benches
//! ```
//!
//! Each variant runs in a process of its own, in turn, several rounds; what counts is the ratio of two variants of one round,
//! since timings of different runs are not comparable.

#![allow(clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "the loops by hand are written as one writes them without the framework")]

mod by_hand;
mod framework;
mod measure;
mod report;
mod world;

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Consume, handle, publish: the framework against loops written by hand.
#[derive(Debug, Clone, Parser)]
#[command(name = "against-by-hand")]
struct Options {
    /// Messages for the variants that take many in a transaction
    #[arg(long, default_value_t = 60_000)]
    messages: usize,
    /// Messages for the variant that takes one in a transaction
    #[arg(long, default_value_t = 3_000)]
    messages_one: usize,
    /// How often each variant runs
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bootstrap servers of Apache Kafka
    #[arg(long, env = "SAGAS_TEST_KAFKA", default_value = "127.0.0.1:9092")]
    kafka: String,
    /// The database
    #[arg(long, env = "SAGAS_TEST_POSTGRES", default_value = "postgres://sagas:sagas@127.0.0.1:5432/sagas")]
    postgres: String,
    /// Run only this variant, in this process, and print what it measured
    #[arg(long, hide = true)]
    variant: Option<Variant>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Variant {
    /// By hand: one message in a transaction.
    HandOne,
    /// By hand: many messages in a transaction, one update for each.
    HandMany,
    /// By hand: many messages in a transaction, one update for all.
    HandSum,
    /// The framework: a handler of one message, which makes one update.
    Handler,
    /// The framework: a handler of a batch, which makes one update for all.
    BatchHandler,
}

impl Variant {
    const ALL: [Self; 5] = [Self::HandOne, Self::HandMany, Self::Handler, Self::HandSum, Self::BatchHandler];

    fn messages(self, options: &Options) -> usize {
        if self == Self::HandOne { options.messages_one } else { options.messages }
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options = Options::parse();
    match options.variant {
        Some(variant) => {
            let measured = world::run(&options, variant).await?;
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }
        None => report::compare(&options).await,
    }
}
