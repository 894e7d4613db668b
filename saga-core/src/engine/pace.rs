//! How many messages share a transaction.
//!
//! Many share the cost of one commit, but whoever else wants to write, an HTTP handler above all, waits until they are done.
//! So a batch is as large as what fits into the time that it may take: it shrinks when it has taken longer, and grows while
//! more is waiting and there is time to spare.

use std::time::Duration;

/// The first batch: how long a message takes is not known yet.
const FIRST: usize = 32;

/// The size of the next batch of one service.
#[derive(Debug)]
pub struct Pace {
    most: usize,
    limit: usize,
    target: Duration,
}

impl Pace {
    /// Batches of at most `limit` messages that should take at most `target`.
    pub fn new(limit: usize, target: Duration) -> Self {
        let limit = limit.max(1);
        Self { most: limit.min(FIRST), limit, target }
    }

    /// How many messages the next batch may have; at least 1.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Takes note that a batch of this many messages has held its transaction for this long.
    pub fn took(&mut self, messages: usize, held: Duration) {
        if held > self.target {
            let share = self.target.as_secs_f64() / held.as_secs_f64();
            // One that was slow for once should not throw back all that follow.
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
        let mut pace = Pace::new(256, TARGET);
        batches.iter().for_each(|(messages, millis)| pace.took(*messages, Duration::from_millis(*millis)));
        pace.most()
    }

    #[test]
    fn a_batch_is_as_large_as_what_fits_into_its_time() {
        for (batches, most) in [
            (&[][..], 32),
            (&[(32, 49)], 64),
            (&[(32, 51)], 32),
            (&[(32, 100)], 32),
            // There is time to spare, but nobody waits.
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
            let mut pace = Pace::new(256, TARGET);
            let batch = |pace: &Pace| Duration::from_micros(micros_each * pace.most() as u64);
            for _ in 0..20 {
                let held = batch(&pace);
                pace.took(pace.most(), held);
            }
            let held = batch(&pace);
            assert!(held <= TARGET || pace.most() == 1, "{micros_each} µs each: {} take {held:?}", pace.most());
            assert!(held >= TARGET / 4 || pace.most() == 256, "{micros_each} µs each: {} take {held:?}", pace.most());
        }
    }

    proptest! {
        #[test]
        fn the_size_keeps_within_its_limits(limit in 0..500_usize, batches in prop::collection::vec((0..600_usize, 0..10_000_u64), 0..50)) {
            let mut pace = Pace::new(limit, TARGET);
            for (messages, millis) in batches {
                pace.took(messages, Duration::from_millis(millis));
                prop_assert!((1..=limit.max(1)).contains(&pace.most()));
            }
        }
    }
}
