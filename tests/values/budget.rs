//! How many cases are tried. The environment variable `SAGAS_FUZZ` multiplies the numbers, and makes the cases differ at each run.

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sagas::{id::IdSource, time::Clock};

/// How much more is tried than usual.
fn factor() -> Option<u32> {
    std::env::var("SAGAS_FUZZ").ok().and_then(|factor| factor.parse().ok()).filter(|factor| *factor > 0)
}

/// So many cases, or a multiple.
pub(crate) fn cases(usual: u32) -> Config {
    let cases = usual.saturating_mul(factor().unwrap_or(1));
    Config { cases, failure_persistence: None, max_shrink_iters: 50, ..Config::default() }
}

/// A source of cases: the same at each run, unless more are tried than usual.
pub(crate) fn runner() -> TestRunner {
    match factor() {
        None => TestRunner::deterministic(),
        Some(_) => {
            let seed = IdSource::random().uuid(Clock::system().now()).into_bytes();
            TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[seed, seed].concat()))
        }
    }
}
