//! Finds out which partitions cannot be fetched, and why.
//!
//! The client reports a fetch error without its partition, and some errors only once. Therefore a second client, on a thread of
//! its own, fetches each partition from the member's position: it gets a record, the end of the partition, or the error. This is
//! repeated while there is a problem. Without an error, there is no second client.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{Offset, consumer::Consumer as _, error::KafkaError, types::RDKafkaErrorCode as Code};
use saga_core::message::TopicPartition;

use super::{Session, list, now};
use crate::{
    error,
    group_topic::GroupTopic,
    member::held::Stage,
    net::held,
    observer::{Client, Observer},
    troubles::{NOT_AUTHORIZED, RECORDS_UNREADABLE, Troubles},
};

/// The wait before partitions are probed again.
const AGAIN: Duration = Duration::from_secs(3);

/// The number of probes after an error, at least.
const ROUNDS: u32 = 3;

/// The longest time that a partition is probed.
const PATIENCE: Duration = Duration::from_secs(1);

/// The timeout of one poll.
const TURN: Duration = Duration::from_millis(50);

/// The state of the probes.
#[derive(Default)]
pub(super) struct Probe {
    client: Option<Observer>,
    at: Option<Instant>,
    /// The number of probes left while no problem is known.
    left: u32,
    busy: Arc<AtomicBool>,
}

/// The result for a partition.
enum Answer {
    Readable,
    Unreadable(Code, String),
    /// No answer in time, or a transient error.
    Unknown,
}

impl Session<'_> {
    /// The client has reported an error of an unknown partition.
    pub(super) fn suspect(&mut self) {
        self.probe.at.get_or_insert(now());
        self.probe.left = ROUNDS;
    }

    pub(super) fn tend_probe(&mut self, now: Instant) {
        if self.probe.at.is_none_or(|at| at > now) || self.probe.busy.load(Ordering::Acquire) {
            return;
        }
        let fetched = self.held.iter().filter(|held| held.stage == Stage::Reading && held.assigned);
        let asked: Vec<_> = fetched.map(|held| (held.partition.clone(), held.next)).collect();
        let (member, board) = (self.plan.member.clone(), Arc::clone(&self.plan.board));
        let troubles = &board.troubles;
        troubles.keep(&member, RECORDS_UNREADABLE, |subject| asked.iter().any(|(partition, _)| partition.to_string() == subject));
        troubles.keep(&member, NOT_AUTHORIZED, |subject| asked.iter().any(|(partition, _)| partition.topic == subject));
        // Probes continue after the last problem: an error may come between two probes.
        let has_trouble = troubles.has(&member, RECORDS_UNREADABLE) || troubles.has(&member, NOT_AUTHORIZED);
        self.probe.left = if has_trouble { ROUNDS } else { self.probe.left.saturating_sub(1) };
        self.probe.at = (self.probe.left > 0).then_some(now + AGAIN);
        if asked.is_empty() {
            return;
        }
        if self.probe.client.is_none() {
            self.probe.client = Observer::probing(&self.plan.config, &member.group).ok();
        }
        let Some(client) = &self.probe.client else { return };
        self.probe.busy.store(true, Ordering::Release);
        let busy = Arc::clone(&self.probe.busy);
        let put = client.put(move |client| {
            held("looking which partitions can be read", || probe(client, &member, &asked, &board.troubles));
            busy.store(false, Ordering::Release);
        });
        if !put {
            self.probe.busy.store(false, Ordering::Release);
        }
        if self.probe.left == 0 {
            // The observer's thread still runs the queued probe, and then ends.
            self.probe.client = None;
        }
    }
}

fn probe(client: &Client, member: &GroupTopic, asked: &[(TopicPartition, Option<i64>)], troubles: &Troubles) {
    let mut refused = BTreeSet::new();
    for (partition, next) in asked {
        if refused.contains(&partition.topic) {
            continue;
        }
        let topic = &partition.topic;
        match ask(client, partition, next.map_or(Offset::Beginning, Offset::Offset)) {
            Answer::Readable => {
                troubles.clear(member, NOT_AUTHORIZED, topic);
                troubles.clear(member, RECORDS_UNREADABLE, &partition.to_string());
            }
            Answer::Unreadable(Code::TopicAuthorizationFailed, _) => {
                refused.insert(topic.clone());
                let detail = format!(
                    "the user may not read the topic `{topic}`: {}; grant Read on the topic to the user of this service",
                    error::describe(Code::TopicAuthorizationFailed)
                );
                troubles.raise(member, NOT_AUTHORIZED, topic, detail);
            }
            Answer::Unreadable(code, reason) => {
                let detail = error::unreadable(partition, *next, code, &reason);
                troubles.raise(member, RECORDS_UNREADABLE, &partition.to_string(), detail);
            }
            Answer::Unknown => {}
        }
    }
}

/// Fetches a partition from this offset.
fn ask(client: &Client, partition: &TopicPartition, from: Offset) -> Answer {
    if client.assign(&list([(partition, from)])).is_err() {
        return Answer::Unknown;
    }
    let deadline = now() + PATIENCE;
    let mut answer = Answer::Unknown;
    while now() < deadline {
        match client.poll(TURN) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => answer = Answer::Readable,
            // The record does not exist. This is a gap, and is reported as one.
            Some(Err(error)) => match error::code(&error) {
                Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => answer = Answer::Readable,
                Some(code) if error::is_of_records(code) => answer = Answer::Unreadable(code, client.context().reason()),
                _ => continue,
            },
            None => continue,
        }
        break;
    }
    let _ = client.unassign();
    answer
}
