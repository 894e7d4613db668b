//! The cost of the framework: consume, handle and publish on Apache Kafka and PostgreSQL, compared with loops written by hand
//! with rdkafka and sqlx that do the same inbox, update and outbox work.
//!
//! ```text
//! scripts/kafka start && scripts/postgres start
//! cargo run --release -p sagas-benches
//! ```
//!
//! Each variant runs in its own process, in turn, for several rounds. The result is the ratio of two variants of the same round:
//! timings of different runs are not comparable.

#![allow(clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "the loops by hand use what code without the framework would use")]

mod by_hand;
mod framework;
mod measure;
mod report;
mod world;

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Consume, handle, publish: the framework compared with loops written by hand.
#[derive(Debug, Clone, Parser)]
#[command(name = "against-by-hand")]
struct Options {
    /// Messages for the variants with many in a transaction
    #[arg(long, default_value_t = 60_000)]
    messages: usize,
    /// Messages for the variant with one in a transaction
    #[arg(long, default_value_t = 3_000)]
    messages_one: usize,
    /// Number of runs of each variant
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bootstrap servers of Apache Kafka
    #[arg(long, env = "SAGAS_TEST_KAFKA", default_value = "127.0.0.1:9092")]
    kafka: String,
    /// The database
    #[arg(long, env = "SAGAS_TEST_POSTGRES", default_value = "postgres://sagas:sagas@127.0.0.1:5432/sagas")]
    postgres: String,
    /// Run only this variant, in this process, and print its result
    #[arg(long, hide = true)]
    variant: Option<Variant>,
}

/// The variants that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Variant {
    /// By hand: one message in each transaction.
    HandOne,
    /// By hand: many messages in each transaction, with one update for each message.
    HandMany,
    /// By hand: many messages in each transaction, with one update for all.
    HandSum,
    /// The framework: a handler of one message, with one update.
    Handler,
    /// The framework: a handler of a batch, with one update for all.
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
