//! A member of a group: its partitions, its positions in them, and which partition it reads next.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use tokio::sync::Notify;

use super::{
    Broker, LogStore, Partition,
    group::{Event, Group},
    lock,
    partition::Tail,
};
use crate::{
    message::Received,
    transport::{Delivery, Subscription, TopicPartition, TransportError},
};

/// A member of a group.
pub(super) struct Member<S: LogStore> {
    broker: Arc<Broker<S>>,
    name: Arc<str>,
    group: Arc<Mutex<Group>>,
    id: u64,
    wake: Arc<Notify>,
    held: Vec<Held>,
    /// The index in `held` of the partition that is checked first, so that a busy partition does not starve the others.
    turn: usize,
    /// A running read from the store. It is kept when a call of `next` is dropped. Otherwise a caller that often drops the call (in a
    /// `select!`) would start the read again each time, and never finish it.
    reading: Option<Reading>,
}

/// Returns the partition, the offset that the read began at, and the records.
type Reading = BoxFuture<'static, (Arc<Partition>, i64, Result<Vec<Received>, TransportError>)>;

struct Held {
    partition: Arc<Partition>,
    /// The next offset to deliver; `None` before `start` is called, and after a gap.
    next: Option<i64>,
    paused: bool,
}

impl<S: LogStore> Member<S> {
    pub(super) fn new(broker: Arc<Broker<S>>, name: Arc<str>, group: Arc<Mutex<Group>>, id: u64, wake: Arc<Notify>) -> Self {
        Self { broker, name, group, id, wake, held: Vec::new(), turn: 0, reading: None }
    }

    fn take(&mut self, event: Event) -> Delivery {
        let ids = |partitions: &[Arc<Partition>]| partitions.iter().map(|partition| partition.id.clone()).collect();
        match event {
            Event::Assigned(partitions) => {
                let assigned = ids(&partitions);
                for partition in partitions {
                    partition.listen(self.id, &self.wake);
                    self.held.push(Held { partition, next: None, paused: false });
                }
                Delivery::Assigned(assigned)
            }
            Event::Revoked(partitions) => {
                self.drop_held(&partitions);
                Delivery::Revoked(ids(&partitions))
            }
            Event::Lost(partitions) => {
                self.drop_held(&partitions);
                Delivery::Lost(ids(&partitions))
            }
        }
    }

    fn drop_held(&mut self, gone: &[Arc<Partition>]) {
        let id = self.id;
        self.held.retain(|held| {
            let keep = !gone.iter().any(|partition| Arc::ptr_eq(partition, &held.partition));
            if !keep {
                held.partition.unlisten(id);
            }
            keep
        });
    }

    /// Returns the next records, from the partition whose turn it is.
    async fn fetch(&mut self) -> Result<Option<Delivery>, TransportError> {
        loop {
            if let Some(reading) = &mut self.reading {
                let (partition, from, records) = reading.await;
                self.reading = None;
                let wanted = |held: &Held| Arc::ptr_eq(&held.partition, &partition) && held.next == Some(from) && !held.paused;
                let Some(at) = self.held.iter().position(wanted) else { continue };
                self.turn = at + 1;
                let records = match records {
                    // Retention removed the records during the read. The next pass reports them as a gap.
                    Err(_) if partition.bounds().0 > from => continue,
                    records => records?,
                };
                // The partition may have been lost during the read. Its records must not be delivered after its new reader has started, so
                // the events come first.
                if lock(&self.group).has_events(self.id) {
                    return Ok(None);
                }
                if let Some(delivery) = self.deliver(at, records) {
                    return Ok(Some(delivery));
                }
            }
            let count = self.held.len();
            for step in 0..count {
                let at = (self.turn + step) % count;
                let held = &mut self.held[at];
                let Some(next) = held.next.filter(|_| !held.paused) else { continue };
                match held.partition.tail(next, self.broker.limits) {
                    Tail::Nothing => {}
                    Tail::Records(records) => {
                        if let Some(delivery) = self.deliver(at, records) {
                            return Ok(Some(delivery));
                        }
                    }
                    Tail::Passed(next) => {
                        held.next = Some(next);
                        return Ok(Some(Delivery::Passed { partition: held.partition.id.clone(), next }));
                    }
                    Tail::Stored => {
                        self.reading = Some(read(&self.broker, &held.partition, next));
                        break;
                    }
                    Tail::Gone(oldest, end) => {
                        held.next = None;
                        return Ok(Some(Delivery::Gap { partition: held.partition.id.clone(), wanted: next, oldest, end }));
                    }
                }
            }
            if self.reading.is_none() {
                return Ok(None);
            }
        }
    }

    fn deliver(&mut self, at: usize, records: Vec<Received>) -> Option<Delivery> {
        let held = &mut self.held[at];
        held.next = Some(records.last()?.offset + 1);
        self.turn = at + 1;
        Some(Delivery::Records { partition: held.partition.id.clone(), records })
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) {
        for held in &mut self.held {
            if partitions.contains(&held.partition.id) {
                held.paused = paused;
            }
        }
    }
}

/// Reads `partition` from the store, beginning at `from`.
fn read<S: LogStore>(broker: &Arc<Broker<S>>, partition: &Arc<Partition>, from: i64) -> Reading {
    let (broker, partition) = (Arc::clone(broker), Arc::clone(partition));
    Box::pin(async move {
        let records = broker.store.read(&partition, from, broker.limits).await;
        (partition, from, records)
    })
}

#[async_trait]
impl<S: LogStore> Subscription for Member<S> {
    async fn next(&mut self) -> Result<Delivery, TransportError> {
        loop {
            if self.broker.is_closed() {
                return Err(TransportError::Closed);
            }
            let (event, mut deadline) = {
                let mut group = lock(&self.group);
                if group.deadline().is_some() {
                    group.expire(self.broker.clock.now());
                }
                (group.next_event(self.id), group.deadline())
            };
            if let Some(event) = event {
                return Ok(self.take(event));
            }
            if let Some(records) = self.fetch().await? {
                return Ok(records);
            }
            match deadline.take() {
                None => self.wake.notified().await,
                Some(deadline) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = self.broker.clock.sleep_until(deadline) => {}
                },
            }
        }
    }

    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]) {
        for (id, offset) in from {
            if let Some(held) = self.held.iter_mut().find(|held| held.partition.id == *id) {
                held.next = Some(offset.unwrap_or_else(|| held.partition.committed(&self.name)));
            }
        }
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.set_paused(partitions, true);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.set_paused(partitions, false);
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        if self.broker.is_closed() {
            return Box::pin(std::future::ready(Err(TransportError::Closed)));
        }
        let own: Vec<_> = {
            let group = lock(&self.group);
            let own =
                offsets.into_iter().filter_map(|(id, offset)| Some((Arc::clone(group.partition_of(self.id, &id)?), offset)));
            // An offset past the end belongs to a previous topic of this name. This one has no record of it.
            own.filter(|(partition, offset)| *offset <= partition.bounds().1).collect()
        };
        if own.is_empty() {
            return Box::pin(std::future::ready(Ok(())));
        }
        self.broker.store.commit(&self.name, own)
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        lock(&self.group).release(self.id, partitions, self.broker.clock.now());
    }

    async fn close(self: Box<Self>) {
        drop(self);
    }
}

impl<S: LogStore> Drop for Member<S> {
    fn drop(&mut self) {
        for held in &self.held {
            held.partition.unlisten(self.id);
        }
        lock(&self.group).leave(self.id, self.broker.clock.now());
    }
}
