//! The runtime's side of the members of a group.
//!
//! Each topic has its own member. Kafka's assignors, `cooperative-sticky` as well as `uniform`, balance the number of partitions
//! of each member, and not the number of each topic: of two members that read two topics, one can get all partitions of a busy
//! topic and the other all partitions of an idle one. If a member reads a single topic, the partitions of that topic are
//! balanced.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_util::future::join_all;
use saga_core::{
    message::TopicPartition,
    transport::{Delivery, Subscription, TransportError},
};
use tokio::sync::{Notify, oneshot};

use super::{
    feed::Feed,
    thread::{self, Plan},
};
use crate::{KafkaConfig, group_topic::GroupTopic, observer::Observer, statistics::StatsRegistry};

/// The longest time that leaving a group waits. After that the threads continue in the background, and the cluster removes the
/// members after the session timeout.
const LEAVE: Duration = Duration::from_secs(5);

/// A subscription: the feeds of its members, by topic.
pub(crate) struct Members {
    feeds: BTreeMap<String, Arc<Feed>>,
    /// Notified when one of the feeds has something for the reader.
    ready: Arc<Notify>,
    /// The topics in the order of their turns.
    turns: Vec<String>,
}

impl Members {
    /// Joins `group` in the background; the first assignment shows that the group is joined.
    pub(crate) fn join(
        config: &KafkaConfig,
        group: &str,
        topics: &[String],
        observer: &Arc<Observer>,
        board: &Arc<StatsRegistry>,
    ) -> Result<Self, TransportError> {
        let members = Self::of(topics);
        for (topic, feed) in &members.feeds {
            // If one cannot be started, dropping `members` closes those that were.
            thread::spawn(Plan {
                config: config.clone(),
                member: GroupTopic::new(group, topic),
                siblings: members.feeds.len(),
                feed: Arc::clone(feed),
                observer: Arc::clone(observer),
                board: Arc::clone(board),
            })?;
        }
        Ok(members)
    }

    /// Creates the feeds, without threads.
    fn of(topics: &[String]) -> Self {
        let ready = Arc::<Notify>::default();
        let feeds: BTreeMap<_, _> = topics.iter().map(|topic| (topic.clone(), Arc::new(Feed::new(Arc::clone(&ready))))).collect();
        Self { turns: feeds.keys().cloned().collect(), feeds, ready }
    }

    /// Returns the feed of each topic.
    pub(crate) fn feeds(&self) -> impl Iterator<Item = (&str, Weak<Feed>)> {
        self.feeds.iter().map(|(topic, feed)| (topic.as_str(), Arc::downgrade(feed)))
    }

    /// Takes from the first topic that has something, and moves this topic to the end of the turns.
    fn take(&mut self) -> Option<Result<Delivery, TransportError>> {
        let found = self.turns.iter().enumerate().find_map(|(turn, topic)| Some((turn, self.feeds.get(topic)?.take()?)));
        let (turn, next) = found?;
        let topic = self.turns.remove(turn);
        self.turns.push(topic);
        Some(next)
    }

    /// Calls `tell` for each member with the elements of its topic.
    fn each<T: Topical + Clone>(&self, all: &[T], tell: impl Fn(&Feed, &[T])) {
        for (topic, feed) in &self.feeds {
            let own: Vec<_> = all.iter().filter(|one| one.topic() == topic).cloned().collect();
            if !own.is_empty() {
                tell(feed, &own);
            }
        }
    }
}

/// A value that belongs to one topic.
trait Topical {
    fn topic(&self) -> &str;
}

impl Topical for TopicPartition {
    fn topic(&self) -> &str {
        &self.topic
    }
}

impl<T> Topical for (TopicPartition, T) {
    fn topic(&self) -> &str {
        &self.0.topic
    }
}

#[async_trait]
impl Subscription for Members {
    async fn next(&mut self) -> Result<Delivery, TransportError> {
        loop {
            let ready = Arc::clone(&self.ready);
            let ready = ready.notified();
            if let Some(next) = self.take() {
                return next;
            }
            ready.await;
        }
    }

    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]) {
        self.each(from, Feed::start);
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.each(partitions, Feed::pause);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.each(partitions, Feed::resume);
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        let answers = std::cell::RefCell::new(Vec::new());
        self.each(&offsets, |feed, own| {
            let (done, answer) = oneshot::channel();
            feed.commit(own.to_vec(), done);
            answers.borrow_mut().push(answer);
        });
        let answers = join_all(answers.into_inner());
        Box::pin(async { answers.await.into_iter().try_for_each(|answer| answer.unwrap_or(Err(TransportError::Closed))) })
    }

    fn made_anew(&mut self, partitions: &[TopicPartition]) {
        self.each(partitions, Feed::made_anew);
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        self.each(partitions, Feed::release);
    }

    async fn close(self: Box<Self>) {
        self.feeds.values().for_each(|feed| feed.close());
        let left = join_all(self.feeds.values().map(|feed| feed.left()));
        if tokio::time::timeout(LEAVE, left).await.is_err() {
            tracing::warn!(
                "the group was not left within {} s; its other members find out by the session timeout",
                LEAVE.as_secs()
            );
        }
    }
}

/// Leaves the group without waiting.
impl Drop for Members {
    fn drop(&mut self) {
        self.feeds.values().for_each(|feed| feed.close());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_reader_that_is_interrupted_misses_nothing_of_any_feed() {
        let topics = ["orders", "payments"].map(str::to_owned);
        for round in 0..20_000 {
            let mut members = Members::of(&topics);
            let told: Vec<_> =
                topics.iter().map(|topic| (Arc::clone(&members.feeds[topic]), TopicPartition::new(topic, 0))).collect();
            let telling = std::thread::spawn(move || {
                for (feed, partition) in told {
                    feed.assigned(&[partition]);
                }
            });
            let mut assigned = 0;
            while assigned < topics.len() {
                let next = match members.next().now_or_never() {
                    Some(next) => next,
                    None => tokio::time::timeout(PATIENCE, members.next()).await.unwrap_or_else(|_| panic!("round {round}")),
                };
                assigned += usize::from(matches!(next, Ok(Delivery::Assigned(_))));
            }
            telling.join().expect("told");
        }
    }
}
