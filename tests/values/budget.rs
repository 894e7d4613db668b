//! The number of test cases. The environment variable `SAGAS_FUZZ` multiplies it, and makes the cases differ in each run.

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sagas::{id::IdSource, time::Clock};

/// Returns the factor, if it is set.
fn factor() -> Option<u32> {
    std::env::var("SAGAS_FUZZ").ok().and_then(|factor| factor.parse().ok()).filter(|factor| *factor > 0)
}

/// Returns a configuration with `usual` cases, or a multiple.
pub(crate) fn cases(usual: u32) -> Config {
    let cases = usual.saturating_mul(factor().unwrap_or(1));
    Config { cases, failure_persistence: None, max_shrink_iters: 50, ..Config::default() }
}

/// Returns a source of cases: the same in each run, unless `SAGAS_FUZZ` is set.
pub(crate) fn runner() -> TestRunner {
    match factor() {
        None => TestRunner::deterministic(),
        Some(_) => {
            let seed = IdSource::random().uuid(Clock::system().now()).into_bytes();
            TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[seed, seed].concat()))
        }
    }
}
