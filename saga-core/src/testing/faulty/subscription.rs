//! A subscription that delays and repeats deliveries.
//!
//! When a partition is revoked or lost, its delayed deliveries are dropped. Its new reader gets them from the log.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_util::FutureExt;

use super::{Shared, drawn, unavailable};
use crate::{
    message::Received,
    time::{Clock, Timestamp},
    transport::{Delivery, Subscription, TopicPartition, TransportError},
};

pub(super) struct FaultySubscription {
    inner: Box<dyn Subscription>,
    clock: Clock,
    shared: Arc<Shared>,
    rng: fastrand::Rng,
    /// In the order in which they arrived.
    held_back: Vec<HeldBack>,
    paused: HashSet<TopicPartition>,
}

struct HeldBack {
    partition: TopicPartition,
    records: Vec<Received>,
    /// If set, this is not a delivery of records but a [`Delivery::Passed`] with this offset.
    passed: Option<i64>,
    due: Timestamp,
    /// The number of other deliveries that come first; `None` for a delayed delivery, which was not delivered yet.
    behind: Option<usize>,
    _counted: Counted,
}

/// Counts one delivery in [`Shared::held_back`] while it exists.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.held_back.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.held_back.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FaultySubscription {
    pub(super) fn new(inner: Box<dyn Subscription>, clock: Clock, shared: Arc<Shared>) -> Self {
        let rng = shared.fork();
        Self { inner, clock, shared, rng, held_back: Vec::new(), paused: HashSet::new() }
    }

    /// Returns the next delivery that is due. When the log is `idle`, deliveries that wait for others are due as well.
    fn due(&self, idle: bool) -> Option<usize> {
        let now = self.clock.now();
        let mut blocked = HashSet::new();
        self.held_back.iter().position(|held| {
            let its_turn = match held.behind {
                None => blocked.insert(&held.partition),
                Some(behind) => idle || behind == 0,
            };
            its_turn && held.due <= now && !self.paused.contains(&held.partition)
        })
    }

    fn hold_back(&mut self, partition: TopicPartition, records: Vec<Received>, due: Timestamp, behind: Option<usize>) {
        self.held_back.push(HeldBack { partition, records, passed: None, due, behind, _counted: Counted::new(&self.shared) });
    }

    fn take(&mut self, at: usize) -> Delivery {
        let held = self.held_back.remove(at);
        if let Some(next) = held.passed {
            Delivery::Passed { partition: held.partition, next }
        } else if held.behind.is_some() {
            Delivery::Records { partition: held.partition, records: held.records }
        } else {
            self.deliver(held.partition, held.records)
        }
    }

    /// Delivers records for the first time.
    fn deliver(&mut self, partition: TopicPartition, records: Vec<Received>) -> Delivery {
        for held in &mut self.held_back {
            held.behind = held.behind.map(|behind| behind.saturating_sub(1));
        }
        let faults = self.shared.faults();
        if drawn(&mut self.rng, faults.duplicate) {
            let due = self.clock.now().after(faults.duplicate_after);
            self.hold_back(partition.clone(), records.clone(), due, Some(faults.duplicate_behind));
        }
        Delivery::Records { partition, records }
    }

    /// Accepts a delivery from the log. Returns it unless it is delayed.
    fn accept(&mut self, delivery: Delivery) -> Option<Delivery> {
        match delivery {
            Delivery::Records { partition, records } => {
                let faults = self.shared.faults();
                let waits = self.held_back.iter().any(|held| held.behind.is_none() && held.partition == partition);
                let delayed = drawn(&mut self.rng, faults.delay);
                if !waits && !delayed {
                    return Some(self.deliver(partition, records));
                }
                let now = self.clock.now();
                let due = if delayed { now.after(faults.delay_for) } else { now };
                self.hold_back(partition, records, due, None);
                None
            }
            Delivery::Passed { partition, next } => {
                if !self.held_back.iter().any(|held| held.behind.is_none() && held.partition == partition) {
                    return Some(Delivery::Passed { partition, next });
                }
                self.hold_back(partition, Vec::new(), self.clock.now(), None);
                if let Some(last) = self.held_back.last_mut() {
                    last.passed = Some(next);
                }
                None
            }
            Delivery::Revoked(partitions) => {
                self.forget(&partitions);
                Some(Delivery::Revoked(partitions))
            }
            Delivery::Lost(partitions) => {
                self.forget(&partitions);
                Some(Delivery::Lost(partitions))
            }
            Delivery::Gap { partition, wanted, oldest, end } => {
                let waits = self.held_back.iter().find(|held| held.behind.is_none() && held.partition == partition);
                match waits.and_then(|held| held.records.first().map(|first| first.offset).or(held.passed)) {
                    // Delayed records come before the gap, so read again from the first of them. The log then reports the gap again.
                    Some(first) => {
                        self.start(&[(partition, Some(first))]);
                        None
                    }
                    None => {
                        self.drop_held_back(|held| held.partition == partition);
                        Some(Delivery::Gap { partition, wanted, oldest, end })
                    }
                }
            }
            assigned @ Delivery::Assigned(_) => Some(assigned),
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.drop_held_back(|held| partitions.contains(&held.partition));
        self.paused.retain(|partition| !partitions.contains(partition));
    }

    async fn deliver_next(&mut self) -> Result<Delivery, TransportError> {
        loop {
            if let Some(at) = self.due(false) {
                return Ok(self.take(at));
            }
            let mut delivery = self.inner.next().now_or_never();
            if delivery.is_none() {
                if let Some(at) = self.due(true) {
                    return Ok(self.take(at));
                }
                delivery = match self.next_due() {
                    None => Some(self.inner.next().await),
                    Some(due) => tokio::select! {
                        biased;
                        delivery = self.inner.next() => Some(delivery),
                        () = self.clock.sleep_until(due) => None,
                    },
                };
            }
            if let Some(delivery) = delivery
                && let Some(delivery) = self.accept(delivery?)
            {
                return Ok(delivery);
            }
        }
    }

    fn drop_held_back(&mut self, which: impl Fn(&HeldBack) -> bool) {
        self.held_back.retain(|held| !which(held));
    }

    fn next_due(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let open = self.held_back.iter().filter(|held| !self.paused.contains(&held.partition));
        open.map(|held| held.due).filter(|due| *due > now).min()
    }
}

#[async_trait]
impl Subscription for FaultySubscription {
    async fn next(&mut self) -> Result<Delivery, TransportError> {
        let mut frozen = self.shared.frozen.subscribe();
        loop {
            let _ = frozen.wait_for(|frozen| !frozen).await;
            let fails = self.shared.faults().fail_next;
            if fails > 0.0 && drawn(&mut self.rng, fails) {
                return Err(unavailable());
            }
            tokio::select! {
                biased;
                _ = frozen.wait_for(|frozen| *frozen) => {}
                delivery = self.deliver_next() => return delivery,
            }
        }
    }

    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]) {
        self.drop_held_back(|held| from.iter().any(|(partition, _)| *partition == held.partition));
        self.inner.start(from);
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.paused.extend(partitions.iter().cloned());
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.paused.retain(|partition| !partitions.contains(partition));
        self.inner.resume(partitions);
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        let fails = self.shared.faults().fail_commit;
        if drawn(&mut self.rng, fails) {
            return Box::pin(std::future::ready(Err(unavailable())));
        }
        self.inner.commit(offsets)
    }

    fn made_anew(&mut self, partitions: &[TopicPartition]) {
        self.inner.made_anew(partitions);
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        self.inner.release(partitions);
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}
