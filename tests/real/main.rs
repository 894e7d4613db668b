//! The example on a real Apache Kafka and a real PostgreSQL, in several processes, while processes and servers are killed,
//! frozen, stopped and restarted under load.
//!
//! Every test starts its own servers with `scripts/kafka` and `scripts/postgres`. The tests run one at a time, because they
//! measure times and each needs the whole machine. `SAGAS_TEST_SEED` selects other times and victims; `SAGAS_TEST_OUTAGE_SECONDS`
//! extends the outage of the broker.
//!
//! Run them with `scripts/test-real -p sagas-tests --test real`.

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
mod starts;
mod storm;
mod takeover;
mod topics;
mod traces;

use std::time::Duration;

/// How long one phase of a test can take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Returns a generator from the seed of this run, and prints the seed.
fn seeded() -> fastrand::Rng {
    let seed = std::env::var("SAGAS_TEST_SEED").map_or(1, |seed| seed.parse().expect("SAGAS_TEST_SEED is a number"));
    println!("SAGAS_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
