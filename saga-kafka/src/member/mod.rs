//! A member of a consumer group.
//!
//! The client belongs to a thread ([`thread`]); the runtime has the [`Member`], and between the two lies the [`Feed`]. The thread
//! alone assigns, pauses, resumes and commits, so that there is one place to look at when a partition stands still.

mod bell;
mod commits;
mod context;
mod feed;
mod held;
mod lag;
mod native;
mod orders;
mod questions;
mod record;
mod thread;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use saga_core::{
    message::TopicPartition,
    transport::{Delivery, Subscription, TransportError},
};
use tokio::sync::oneshot;

pub(crate) use self::{
    feed::Feed,
    lag::{ends, lag, offsets},
    native::{Identity, identities},
};
use crate::{KafkaConfig, observer::Observer, statistics::Board};

/// How long leaving a group may take. After that the thread goes on alone, and the cluster finds out by the session timeout.
const LEAVE: Duration = Duration::from_secs(5);

/// What the runtime has of a member.
pub(crate) struct Member {
    feed: Arc<Feed>,
}

impl Member {
    /// Joins `group`, in its own time: the first assignment tells that it is done.
    pub(crate) fn join(
        config: &KafkaConfig,
        group: &str,
        topics: &[String],
        observer: Arc<Observer>,
        board: Arc<Board>,
    ) -> Result<Self, TransportError> {
        let feed = Arc::new(Feed::new());
        thread::spawn(config, group, topics, Arc::clone(&feed), observer, board)?;
        Ok(Self { feed })
    }

    pub(crate) fn feed(&self) -> Weak<Feed> {
        Arc::downgrade(&self.feed)
    }
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self) -> Result<Delivery, TransportError> {
        self.feed.next().await
    }

    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]) {
        self.feed.start(from);
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.feed.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.feed.resume(partitions);
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        let (done, answer) = oneshot::channel();
        self.feed.commit(offsets, done);
        Box::pin(async { answer.await.unwrap_or(Err(TransportError::Closed)) })
    }

    fn made_anew(&mut self, partitions: &[TopicPartition]) {
        self.feed.made_anew(partitions);
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        self.feed.release(partitions);
    }

    async fn close(self: Box<Self>) {
        self.feed.close();
        if tokio::time::timeout(LEAVE, self.feed.left()).await.is_err() {
            tracing::warn!(
                "the group was not left within {} s; its other members find out by the session timeout",
                LEAVE.as_secs()
            );
        }
    }
}

/// Leaves the group, and waits for nothing.
impl Drop for Member {
    fn drop(&mut self) {
        self.feed.close();
    }
}
