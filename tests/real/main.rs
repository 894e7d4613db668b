//! The example on a real Apache Kafka and a real PostgreSQL, in several processes, while processes and servers are killed, frozen,
//! stopped and started again under load.
//!
//! Every test starts servers of its own through `scripts/kafka` and `scripts/postgres`, and the tests take turns: they are about
//! times, and each wants the whole machine. `SAGAS_TEST_SEED` chooses other moments and other victims; `SAGAS_TEST_OUTAGE_SECONDS` makes
//! the broker stay away for longer.
//!
//! Run them by `scripts/test-real -p sagas-tests --test real`.

#![cfg(unix)]
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, unreachable_pub)]

mod clocks;
mod contention;
mod counting;
mod fleet;
mod foreign;
mod frozen;
mod kills;
mod log_conditions;
mod oracle;
mod outages;
mod repartitioned;
mod scripts;
mod servers;
mod storm;
mod takeover;
mod topics;
mod traces;

use std::time::Duration;

/// How long a bounded piece of work may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A generator from the seed of this run, which is printed.
fn seeded() -> fastrand::Rng {
    let seed = std::env::var("SAGAS_TEST_SEED").map_or(1, |seed| seed.parse().expect("SAGAS_TEST_SEED is a number"));
    println!("SAGAS_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
