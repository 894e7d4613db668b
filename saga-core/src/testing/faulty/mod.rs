//! A transport and a store that fail in the ways that real ones do. A transport delivers records twice or late, publishing fails or succeeds
//! without an answer, and a member gets no events of its group for a while. A store cannot be reached, is slow, rejects a statement or a
//! commit, or commits without an answer.
//!
//! [`Faulty`] wraps any transport, and [`FaultyStore`] any store. The faults are drawn from a seed, so a failed run can be repeated.
//!
//! ```
//! # use std::sync::Arc;
//! # use saga_core::{testing::faulty::{Faults, Faulty}, time::Clock, transport::memory::Memory};
//! let faults = Faults { duplicate: 1.0, ..Faults::default() };
//! let log = Faulty::new(Arc::new(Memory::new()), faults, 7, Clock::system());
//! ```

mod refusals;
mod store;
mod subscription;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

pub use refusals::Refusal;
pub use store::{FaultyStore, StoreCall, StoreFault, StoreFaults, StoreOperation};

use self::{refusals::Refusals, subscription::FaultySubscription};
use crate::{
    message::Record,
    time::{Clock, Timestamp},
    transport::{
        ClientStatistics, Condition, GroupLag, PartitionOffsets, Position, Subscription, TopicExpectation, TopicFinding,
        TopicIdentity, TopicSpec, Transport, TransportError,
    },
};

/// The faults, each as the probability (0 to 1) that it occurs. By default there are none.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Deliveries that are repeated, as after a rewind.
    pub duplicate: f64,
    /// The number of other deliveries before a repeated one. It comes earlier if there are no others.
    pub duplicate_behind: usize,
    /// The minimum time before a repeated delivery.
    pub duplicate_after: Duration,
    /// Deliveries that are delayed. Later deliveries of the same partition wait behind them.
    pub delay: f64,
    /// The duration of a delay.
    pub delay_for: Duration,
    /// Publishes that store nothing.
    pub fail_publish: f64,
    /// Publishes that store only the first records; their number is drawn.
    pub cut_publish: f64,
    /// Publishes that store everything but return an error.
    pub lose_answer: f64,
    /// Calls of [`Subscription::next`] that return an error.
    pub fail_next: f64,
    /// Commits that are not stored.
    pub fail_commit: f64,
    /// Calls of [`Transport::identities`] that return an error.
    pub fail_identities: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            duplicate: 0.0,
            duplicate_behind: 3,
            duplicate_after: Duration::ZERO,
            delay: 0.0,
            delay_for: Duration::from_millis(20),
            fail_publish: 0.0,
            cut_publish: 0.0,
            lose_answer: 0.0,
            fail_next: 0.0,
            fail_commit: 0.0,
            fail_identities: 0.0,
        }
    }
}

/// A transport with faults.
pub struct Faulty {
    inner: Arc<dyn Transport>,
    clock: Clock,
    shared: Arc<Shared>,
}

/// The state that a transport shares with its subscriptions.
struct Shared {
    faults: Mutex<Faults>,
    refusals: Refusals,
    rng: Mutex<fastrand::Rng>,
    held_back: AtomicUsize,
    frozen: watch::Sender<bool>,
}

impl Shared {
    fn faults(&self) -> Faults {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fork(&self) -> fastrand::Rng {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faulty").field("faults", &self.shared.faults()).finish_non_exhaustive()
    }
}

impl Faulty {
    /// Wraps `inner`. The `faults` are drawn from `seed`, and their delays use `clock`.
    pub fn new(inner: Arc<dyn Transport>, faults: Faults, seed: u64, clock: Clock) -> Self {
        let shared = Shared {
            faults: Mutex::new(faults),
            refusals: Refusals::default(),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            held_back: AtomicUsize::new(0),
            frozen: watch::Sender::new(false),
        };
        Self { inner, clock, shared: Arc::new(shared) }
    }

    /// Replaces the faults, in subscriptions too. Deliveries that are delayed already are still delivered.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Makes `topic` reject all records, or some of them, from now on.
    pub fn refuse(&self, topic: &str, refusal: Refusal) {
        self.shared.refusals.set(topic, Some(refusal));
    }

    /// Makes `topic` accept all records again.
    pub fn take(&self, topic: &str) {
        self.shared.refusals.set(topic, None);
    }

    /// Stops all deliveries to the subscriptions, both records and changes of the assignment, like those to a process that is stopped
    /// (`SIGSTOP`).
    pub fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    /// Continues the deliveries, beginning with those that were missed.
    pub fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// Returns the number of deliveries that are delayed or are to be repeated. A test that needs all deliveries waits until this is 0.
    pub fn held_back(&self) -> usize {
        self.shared.held_back.load(Ordering::SeqCst)
    }

    /// Publishes the records that no topic rejects, with the other faults.
    async fn publish_taken(&self, mut records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        let faults = self.shared.faults();
        let mut rng = self.shared.fork();
        let count = records.len();
        if drawn(&mut rng, faults.fail_publish) {
            return (0..count).map(|_| Err(unavailable())).collect();
        }
        if count > 0 && drawn(&mut rng, faults.cut_publish) {
            records.truncate(rng.usize(..count));
        }
        let mut answers = if records.is_empty() { Vec::new() } else { self.inner.publish(records).await };
        answers.resize_with(count, || Err(unavailable()));
        if drawn(&mut rng, faults.lose_answer) {
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                *answer = Err(unavailable());
            }
        }
        answers
    }
}

fn drawn(rng: &mut fastrand::Rng, share: f64) -> bool {
    rng.f64() < share
}

fn unavailable() -> TransportError {
    TransportError::Unavailable("a fault that the test asked for".to_owned())
}

#[async_trait]
impl Transport for Faulty {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.inner.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        let refused: Vec<_> = records.iter().map(|record| self.shared.refusals.of(record)).collect();
        let taken = records.into_iter().zip(&refused).filter(|(_, refused)| refused.is_none()).map(|(record, _)| record);
        let mut answers = self.publish_taken(taken.collect()).await.into_iter();
        refused
            .into_iter()
            .map(|refused| refused.map_or_else(|| answers.next().unwrap_or_else(|| Err(unavailable())), Err))
            .collect()
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        let inner = self.inner.subscribe(group, topics).await?;
        Ok(Box::new(FaultySubscription::new(inner, self.clock.clone(), Arc::clone(&self.shared))))
    }

    async fn identities(&self, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        let fails = self.shared.faults().fail_identities;
        if fails > 0.0 && drawn(&mut self.shared.rng.lock().unwrap_or_else(PoisonError::into_inner), fails) {
            return Err(unavailable());
        }
        self.inner.identities(topics).await
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.inner.lag(group, topics).await
    }

    async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        self.inner.offsets(topic, at).await
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.inner.check().await
    }

    async fn conditions(&self, group: &str, topics: &[String]) -> Result<Vec<Condition>, TransportError> {
        self.inner.conditions(group, topics).await
    }

    async fn check_topics(&self, topics: &[TopicExpectation]) -> Result<Vec<TopicFinding>, TransportError> {
        self.inner.check_topics(topics).await
    }

    fn statistics(&self) -> Vec<ClientStatistics> {
        self.inner.statistics()
    }

    async fn about(&self) -> Option<String> {
        self.inner.about().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
