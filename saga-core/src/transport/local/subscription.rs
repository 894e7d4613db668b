//! A member's view of its group: what it holds, where it is, and whose turn it is.

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
use crate::transport::{Delivery, Subscription, TopicPartition, TransportError};

/// A member of a group.
pub(super) struct Member<S: LogStore> {
    broker: Arc<Broker<S>>,
    name: Arc<str>,
    group: Arc<Mutex<Group>>,
    id: u64,
    wake: Arc<Notify>,
    held: Vec<Held>,
    /// Which of `held` is looked at first, so that a busy partition does not starve the others.
    turn: usize,
}

struct Held {
    partition: Arc<Partition>,
    next: i64,
    paused: bool,
}

impl<S: LogStore> Member<S> {
    pub(super) fn new(broker: Arc<Broker<S>>, name: Arc<str>, group: Arc<Mutex<Group>>, id: u64, wake: Arc<Notify>) -> Self {
        Self { broker, name, group, id, wake, held: Vec::new(), turn: 0 }
    }

    fn take(&mut self, event: Event) -> Delivery {
        let ids = |partitions: &[Arc<Partition>]| partitions.iter().map(|partition| partition.id.clone()).collect();
        match event {
            Event::Assigned(partitions) => {
                let assigned = ids(&partitions);
                for partition in partitions {
                    partition.listen(self.id, &self.wake);
                    let next = partition.committed(&self.name);
                    self.held.push(Held { partition, next, paused: false });
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

    /// The next records of the partition whose turn it is.
    async fn fetch(&mut self) -> Result<Option<Delivery>, TransportError> {
        let count = self.held.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let held = &self.held[at];
            if held.paused {
                continue;
            }
            let records = match held.partition.tail(held.next, self.broker.limits) {
                Tail::Nothing => continue,
                Tail::Records(records) => records,
                Tail::Stored(from) => {
                    let read = self.broker.store.read(&held.partition, from, self.broker.limits).await;
                    if read.is_err() {
                        self.turn = at + 1;
                    }
                    let records = read?;
                    // What was lost while reading must not be delivered after its new reader has begun.
                    if lock(&self.group).has_events(self.id) {
                        return Ok(None);
                    }
                    records
                }
            };
            let held = &mut self.held[at];
            let Some(last) = records.last() else { continue };
            held.next = last.offset + 1;
            self.turn = at + 1;
            return Ok(Some(Delivery::Records { partition: held.partition.id.clone(), records }));
        }
        Ok(None)
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) {
        for held in &mut self.held {
            if partitions.contains(&held.partition.id) {
                held.paused = paused;
            }
        }
    }
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
            offsets.into_iter().filter_map(|(id, offset)| Some((Arc::clone(group.partition_of(self.id, &id)?), offset))).collect()
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
