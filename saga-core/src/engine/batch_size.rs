//! How many messages share a transaction.
//!
//! A larger batch spreads the cost of a commit over more messages, but other writers, in particular HTTP handlers, wait until it is done.
//! So the size follows the time: a batch shrinks after one that took longer than its target, and grows while messages wait and a batch
//! takes less than half of the target.

use std::time::Duration;

/// The size of the first batch, when the duration of a message is not yet known.
const FIRST: usize = 32;

/// The size of the next batch of a service.
#[derive(Debug)]
pub struct BatchSize {
    most: usize,
    limit: usize,
    target: Duration,
}

impl BatchSize {
    /// Creates the state for batches of at most `limit` messages that should take at most `target`.
    pub fn new(limit: usize, target: Duration) -> Self {
        let limit = limit.max(1);
        Self { most: limit.min(FIRST), limit, target }
    }

    /// Returns the most messages for the next batch; at least 1.
    pub fn next_limit(&self) -> usize {
        self.most
    }

    /// Records that the transaction of a batch with this many messages was open for `held`.
    pub fn record_batch(&mut self, messages: usize, held: Duration) {
        if held > self.target {
            let share = self.target.as_secs_f64() / held.as_secs_f64();
            // Halve at most, so that one slow batch does not make all later ones tiny.
            let fits = ((messages as f64 * share) as usize).max(self.most / 2).max(1);
            self.most = self.most.min(fits);
        } else if messages >= self.most && held < self.target / 2 {
            self.most = self.most.saturating_mul(2).min(self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGET: Duration = Duration::from_millis(100);

    fn after(batches: &[(usize, u64)]) -> usize {
        let mut batch_size = BatchSize::new(256, TARGET);
        batches.iter().for_each(|(messages, millis)| batch_size.record_batch(*messages, Duration::from_millis(*millis)));
        batch_size.next_limit()
    }

    #[test]
    fn a_batch_is_as_large_as_what_fits_into_its_time() {
        for (batches, most) in [
            (&[][..], 32),
            (&[(32, 49)], 64),
            (&[(32, 51)], 32),
            (&[(32, 100)], 32),
            // Fast enough to grow, but the batch was not full: no messages wait.
            (&[(31, 1)], 32),
            (&[(32, 128)], 25),
            (&[(32, 1_000)], 16),
            (&[(32, 1_000), (16, 500), (8, 250)], 4),
            (&[(1, 60_000)], 16),
            (&[(32, 1), (64, 1), (128, 1), (256, 1)], 256),
        ] {
            assert_eq!(after(batches), most, "{batches:?}");
        }
    }

    #[test]
    fn a_steady_service_comes_to_batches_of_about_their_time() {
        for micros_each in [10_u64, 400, 5_000, 99_000, 1_000_000] {
            let mut batch_size = BatchSize::new(256, TARGET);
            let batch = |batch_size: &BatchSize| Duration::from_micros(micros_each * batch_size.next_limit() as u64);
            for _ in 0..20 {
                let held = batch(&batch_size);
                batch_size.record_batch(batch_size.next_limit(), held);
            }
            let held = batch(&batch_size);
            assert!(
                held <= TARGET || batch_size.next_limit() == 1,
                "{micros_each} µs each: {} take {held:?}",
                batch_size.next_limit()
            );
            assert!(
                held >= TARGET / 4 || batch_size.next_limit() == 256,
                "{micros_each} µs each: {} take {held:?}",
                batch_size.next_limit()
            );
        }
    }

    proptest! {
        #[test]
        fn the_size_keeps_within_its_limits(limit in 0..500_usize, batches in prop::collection::vec((0..600_usize, 0..10_000_u64), 0..50)) {
            let mut batch_size = BatchSize::new(limit, TARGET);
            for (messages, millis) in batches {
                batch_size.record_batch(messages, Duration::from_millis(millis));
                prop_assert!((1..=limit.max(1)).contains(&batch_size.next_limit()));
            }
        }
    }
}
