//! A transport that misbehaves as real ones do: records come again and late, publishing fails, or succeeds without
//! saying so, and a member hears nothing of its group for a while.
//!
//! [`Faulty`] wraps any transport. What goes wrong is drawn from a seed, so a run that fails can be run again.
//!
//! ```
//! # use std::sync::Arc;
//! # use saga_core::{testing::faulty::{Faults, Faulty}, time::Clock, transport::memory::Memory};
//! let faults = Faults { duplicate: 1.0, ..Faults::default() };
//! let log = Faulty::new(Arc::new(Memory::new()), faults, 7, Clock::system());
//! ```

mod refusals;
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

use self::{refusals::Refusals, subscription::FaultySubscription};
use crate::{
    message::Record,
    time::{Clock, Timestamp},
    transport::{
        ClientStatistics, Condition, GroupLag, PartitionOffsets, Position, Subscription, TopicExpectation, TopicFinding,
        TopicIdentity, TopicSpec, Transport, TransportError,
    },
};

/// What goes wrong, each as the share (0 to 1) of the times it could. By default nothing does.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Deliveries that come a second time, like after a rewind.
    pub duplicate: f64,
    /// The second time comes when so many other deliveries have come, or when there are no others.
    pub duplicate_behind: usize,
    /// The second time comes after this long at the earliest.
    pub duplicate_after: Duration,
    /// Deliveries that are held back; those behind them in the same partition wait with them.
    pub delay: f64,
    /// For how long they are held back.
    pub delay_for: Duration,
    /// Publishes of which nothing is stored.
    pub fail_publish: f64,
    /// Publishes of which only the first records are stored, how many is drawn.
    pub cut_publish: f64,
    /// Publishes of which everything is stored, and which are answered with an error all the same.
    pub lose_answer: f64,
    /// Times that a subscription is asked for what comes next and answers with an error.
    pub fail_next: f64,
    /// Commits that are not stored.
    pub fail_commit: f64,
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
        }
    }
}

/// A transport with faults.
pub struct Faulty {
    inner: Arc<dyn Transport>,
    clock: Clock,
    shared: Arc<Shared>,
}

/// What a transport and its subscriptions have in common.
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
    /// `inner` with `faults`, which `seed` decides and which wait by `clock`.
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

    /// Goes on with other faults, in subscriptions too. What is held back already still comes.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// From now on `topic` takes nothing, or not everything.
    pub fn refuse(&self, topic: &str, refusal: Refusal) {
        self.shared.refusals.set(topic, Some(refusal));
    }

    /// `topic` takes everything again.
    pub fn take(&self, topic: &str) {
        self.shared.refusals.set(topic, None);
    }

    /// From now on its subscriptions hear nothing, neither records nor that their partitions are wanted by others, like those of
    /// a process that was stopped (`SIGSTOP`).
    pub fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    /// Its subscriptions hear again, and first what they have missed.
    pub fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// Deliveries that are held back now, for the first or the second time. A test that wants to see all of them waits
    /// until this is 0.
    pub fn held_back(&self) -> usize {
        self.shared.held_back.load(Ordering::SeqCst)
    }

    /// Publishes what no topic refuses, with the other faults.
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

    async fn close(&self) {
        self.inner.close().await;
    }
}
