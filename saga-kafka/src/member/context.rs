//! The client's callbacks, which run while it is polled. They only record events, which are handled after the poll.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use saga_core::message::TopicPartition;

use crate::{error, group_topic::GroupTopic, observer::log, statistics::StatsRegistry};

pub(super) struct Context {
    member: GroupTopic,
    board: Arc<StatsRegistry>,
    events: Mutex<Vec<Event>>,
    /// The number of callbacks so far. If a poll does not change it, the client's queue is empty.
    calls: AtomicU64,
    /// Revoked partitions are given up at once, without waiting for the runtime.
    closing: AtomicBool,
    /// The client's description of its last error.
    reason: Mutex<String>,
}

pub(super) enum Event {
    Assigned(Vec<TopicPartition>),
    Revoked { partitions: Vec<TopicPartition>, lost: bool },
    Committed(Result<(), Code>, Vec<(TopicPartition, i64, Option<Code>)>),
}

impl Context {
    pub(super) fn new(member: GroupTopic, board: Arc<StatsRegistry>) -> Self {
        Self {
            member,
            board,
            events: Mutex::default(),
            calls: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            reason: Mutex::default(),
        }
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Takes the client's description of its last error.
    pub(super) fn reason(&self) -> String {
        std::mem::take(&mut *self.reason.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn note(&self, event: Event) {
        self.called();
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.called();
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.called();
        self.board.note(Some(&self.member), &statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.called();
        tracing::debug!(target: "librdkafka", group = self.member.group, %error, reason);
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ConsumerContext for Context {
    /// Only records the change. The client waits for a later `assign` or `unassign`, and continues to send heartbeats.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Relaxed) {
            self.called();
            let given_up = consumer.assignment().and_then(|assignment| consumer.incremental_unassign(&assignment));
            if let Err(error) = given_up {
                tracing::debug!(target: "librdkafka", group = self.member.group, %error, "giving up the partitions");
            }
            return;
        }
        let partitions = named(partitions).map(|(partition, _, _)| partition).collect();
        self.note(match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Event::Assigned(partitions),
            _ => Event::Revoked { partitions, lost: consumer.assignment_lost() },
        });
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let result = result.map_err(|error| error::code(&error).unwrap_or(Code::Unknown));
        self.note(Event::Committed(result, named(offsets).collect()));
    }
}

/// The partitions of a list, with their offsets and errors.
pub(super) fn named(list: &TopicPartitionList) -> impl Iterator<Item = (TopicPartition, i64, Option<Code>)> {
    list.elements().into_iter().map(|element| {
        let code = element.error().err().map(|error| error::code(&error).unwrap_or(Code::Unknown));
        let offset = element.offset().to_raw().unwrap_or(-1);
        (TopicPartition::new(element.topic(), element.partition()), offset, code)
    })
}
