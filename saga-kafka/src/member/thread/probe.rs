//! Which partitions cannot be fetched, and why.
//!
//! The client tells an error of fetching without the partition that it is of, and some of them once only. So another client, on a
//! thread of its own, fetches each partition from where this member is: it gets a record or the end, or the error. It does so again
//! while anything is wrong. Nothing of it is done while nothing has been wrong.

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
    member::held::Stage,
    net::held,
    observer::{Client, Observer},
    troubles::{NOT_AUTHORIZED, RECORDS_UNREADABLE, Troubles},
};

/// How long until partitions are probed again.
const AGAIN: Duration = Duration::from_secs(3);

/// How often they are probed at least, after an error.
const ROUNDS: u32 = 3;

/// How long a partition may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long one wait for the client is.
const TURN: Duration = Duration::from_millis(50);

/// The probing of a member's partitions.
#[derive(Default)]
pub(super) struct Probe {
    client: Option<Observer>,
    at: Option<Instant>,
    /// Probes that follow though nothing is known to be wrong.
    left: u32,
    busy: Arc<AtomicBool>,
}

/// What a partition answers.
enum Answer {
    Readable,
    Unreadable(Code, String),
    /// Nothing in time, or an error that may pass.
    Unknown,
}

impl Session<'_> {
    /// The client told an error of a partition.
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
        let (group, board) = (self.plan.group.clone(), Arc::clone(&self.plan.board));
        let troubles = &board.troubles;
        troubles.keep(&group, RECORDS_UNREADABLE, |subject| asked.iter().any(|(partition, _)| partition.to_string() == subject));
        troubles.keep(&group, NOT_AUTHORIZED, |subject| asked.iter().any(|(partition, _)| partition.topic == subject));
        // Once more after the last trouble: an error may come between two probes.
        let has_trouble = troubles.has(&group, RECORDS_UNREADABLE) || troubles.has(&group, NOT_AUTHORIZED);
        self.probe.left = if has_trouble { ROUNDS } else { self.probe.left.saturating_sub(1) };
        self.probe.at = (self.probe.left > 0).then_some(now + AGAIN);
        if asked.is_empty() {
            return;
        }
        if self.probe.client.is_none() {
            self.probe.client = Observer::probing(&self.plan.config, &group).ok();
        }
        let Some(client) = &self.probe.client else { return };
        self.probe.busy.store(true, Ordering::Release);
        let busy = Arc::clone(&self.probe.busy);
        let put = client.put(move |client| {
            held("looking which partitions can be read", || probe(client, &group, &asked, &board.troubles));
            busy.store(false, Ordering::Release);
        });
        if !put {
            self.probe.busy.store(false, Ordering::Release);
        }
    }
}

fn probe(client: &Client, group: &str, asked: &[(TopicPartition, Option<i64>)], troubles: &Troubles) {
    let mut refused = BTreeSet::new();
    for (partition, next) in asked {
        if refused.contains(&partition.topic) {
            continue;
        }
        let topic = &partition.topic;
        match ask(client, partition, next.map_or(Offset::Beginning, Offset::Offset)) {
            Answer::Readable => {
                troubles.clear(group, NOT_AUTHORIZED, topic);
                troubles.clear(group, RECORDS_UNREADABLE, &partition.to_string());
            }
            Answer::Unreadable(Code::TopicAuthorizationFailed, _) => {
                refused.insert(topic.clone());
                let detail = format!(
                    "the user may not read the topic `{topic}`: {}; grant Read on the topic to the user of this service",
                    error::describe(Code::TopicAuthorizationFailed)
                );
                troubles.raise(group, NOT_AUTHORIZED, topic, detail);
            }
            Answer::Unreadable(code, reason) => {
                let detail = error::unreadable(partition, *next, code, &reason);
                troubles.raise(group, RECORDS_UNREADABLE, &partition.to_string(), detail);
            }
            Answer::Unknown => {}
        }
    }
}

/// Fetches a partition from there.
fn ask(client: &Client, partition: &TopicPartition, from: Offset) -> Answer {
    if client.assign(&list([(partition, from)])).is_err() {
        return Answer::Unknown;
    }
    let deadline = now() + PATIENCE;
    let mut answer = Answer::Unknown;
    while now() < deadline {
        match client.poll(TURN) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => answer = Answer::Readable,
            // The record is not there, which is a gap and told as one.
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
