//! Committing: one request at a time, the highest offset of each partition, and an end to every wait.
//!
//! The client's own synchronous commit has no working timeout. So commits are asynchronous, their reports come as events, and
//! whoever waits is answered after [`PATIENCE`] in any case.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use rdkafka::types::RDKafkaErrorCode as Code;
use saga_core::{message::TopicPartition, transport::TransportError};
use tokio::sync::oneshot;

use crate::error;

/// How long a commit is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long until a commit that failed is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// The commits of a member.
#[derive(Default)]
pub(super) struct Commits {
    waiters: Vec<Waiter>,
    /// What was sent and not reported, and when.
    sent: Option<(BTreeMap<TopicPartition, i64>, Instant)>,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// The highest offset that is known to be stored, of the partitions that are held.
    stored: HashMap<TopicPartition, i64>,
    last_error: Option<Code>,
}

struct Waiter {
    /// What is not stored yet.
    offsets: Vec<(TopicPartition, i64)>,
    deadline: Instant,
    done: oneshot::Sender<Result<(), TransportError>>,
}

impl Commits {
    /// Takes a commit of partitions that are held.
    pub(super) fn wanted(
        &mut self,
        mut offsets: Vec<(TopicPartition, i64)>,
        done: oneshot::Sender<Result<(), TransportError>>,
        now: Instant,
    ) {
        offsets.retain(|(partition, offset)| self.is_open(partition, *offset));
        if offsets.is_empty() {
            let _ = done.send(Ok(()));
        } else {
            self.waiters.push(Waiter { offsets, deadline: now + PATIENCE, done });
        }
    }

    fn is_open(&self, partition: &TopicPartition, offset: i64) -> bool {
        self.stored.get(partition).is_none_or(|stored| *stored < offset)
    }

    /// What is to be sent now, if anything is. It has to be sent.
    pub(super) fn next(&mut self, now: Instant) -> Option<BTreeMap<TopicPartition, i64>> {
        if self.sent.is_some() || self.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        let mut highest = BTreeMap::new();
        for (partition, offset) in self.waiters.iter().flat_map(|waiter| &waiter.offsets) {
            let known = highest.entry(partition.clone()).or_insert(*offset);
            *known = (*known).max(*offset);
        }
        if highest.is_empty() {
            return None;
        }
        self.not_before = None;
        self.sent = Some((highest.clone(), now));
        Some(highest)
    }

    /// What the client reports: an error of all, or one of each partition. A report of what was given up counts as well, as far as
    /// it went.
    pub(super) fn reported(&mut self, result: Result<(), Code>, offsets: Vec<(TopicPartition, i64, Option<Code>)>, now: Instant) {
        let mut failed = result.err();
        for (partition, offset, code) in &offsets {
            match code.or(result.err()) {
                None if *offset >= 0 => {
                    let stored = self.stored.entry(partition.clone()).or_insert(*offset);
                    *stored = (*stored).max(*offset);
                }
                None => {}
                Some(code) => failed = Some(code),
            }
        }
        let is_last = self.sent.as_ref().is_some_and(|(sent, _)| {
            sent.len() == offsets.len() && offsets.iter().all(|(partition, offset, _)| sent.get(partition) == Some(offset))
        });
        if is_last || offsets.is_empty() {
            self.sent = None;
        }
        self.settle();
        if let Some(code) = failed {
            self.failed(code, now);
        }
    }

    /// A commit was not stored: it is tried again, unless somebody has to change something first.
    pub(super) fn failed(&mut self, code: Code, now: Instant) {
        self.sent = None;
        self.last_error = Some(code);
        self.not_before = Some(now + AGAIN);
        if error::is_lasting(code) {
            for waiter in self.waiters.drain(..) {
                let _ = waiter.done.send(Err(error::unavailable_by("committing", code, "")));
            }
        }
    }

    /// These partitions are not held any more: their commits are passed over.
    pub(super) fn gone(&mut self, partitions: &[TopicPartition]) {
        for waiter in &mut self.waiters {
            waiter.offsets.retain(|(partition, _)| !partitions.contains(partition));
        }
        self.stored.retain(|partition, _| !partitions.contains(partition));
        self.settle();
    }

    /// These partitions are of topics that were made anew: what is stored of them, or on its way, was of the ones before.
    pub(super) fn made_anew(&mut self, partitions: &[TopicPartition]) {
        self.stored.retain(|partition, _| !partitions.contains(partition));
    }

    /// Whether commits of these partitions are on their way.
    pub(super) fn concern(&self, partitions: &[TopicPartition]) -> bool {
        self.waiters.iter().flat_map(|waiter| &waiter.offsets).any(|(partition, _)| partitions.contains(partition))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Answers those who have waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.sent.as_ref().is_some_and(|(_, since)| now.duration_since(*since) > PATIENCE) {
            self.sent = None;
        }
        let text = format!("committing: no answer within {} s", PATIENCE.as_secs());
        for waiter in self.waiters.extract_if(.., |waiter| waiter.deadline <= now) {
            let error = match self.last_error {
                Some(code) => error::unavailable_by("committing", code, ""),
                None => TransportError::Unavailable(text.clone()),
            };
            let _ = waiter.done.send(Err(error));
        }
    }

    /// Answers those whose offsets are stored.
    fn settle(&mut self) {
        let stored = &self.stored;
        for waiter in &mut self.waiters {
            waiter.offsets.retain(|(partition, offset)| stored.get(partition).is_none_or(|stored| stored < offset));
        }
        for waiter in self.waiters.extract_if(.., |waiter| waiter.offsets.is_empty()) {
            let _ = waiter.done.send(Ok(()));
        }
        if self.waiters.is_empty() {
            self.last_error = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    type Answer = oneshot::Receiver<Result<(), TransportError>>;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("orders", number)
    }

    fn want(commits: &mut Commits, offsets: &[(i32, i64)]) -> Answer {
        let (done, answer) = oneshot::channel();
        commits.wanted(offsets.iter().map(|(number, offset)| (partition(*number), *offset)).collect(), done, now());
        answer
    }

    fn stored(commits: &mut Commits, offsets: BTreeMap<TopicPartition, i64>) {
        commits.reported(Ok(()), offsets.into_iter().map(|(partition, offset)| (partition, offset, None)).collect(), now());
    }

    fn ended(answer: &mut Answer) -> Option<bool> {
        answer.try_recv().ok().map(|answer| answer.is_ok())
    }

    #[test]
    fn of_a_topic_made_anew_lower_offsets_are_committed() {
        let mut commits = Commits::default();
        want(&mut commits, &[(0, 20), (1, 20)]);
        let sent = commits.next(now()).expect("it is sent");
        stored(&mut commits, sent);
        assert_eq!(ended(&mut want(&mut commits, &[(0, 3)])), Some(true), "it is stored");
        commits.made_anew(&[partition(0)]);
        let mut answer = want(&mut commits, &[(0, 3), (1, 3)]);
        assert_eq!(commits.next(now()), Some(BTreeMap::from([(partition(0), 3)])));
        stored(&mut commits, BTreeMap::from([(partition(0), 3)]));
        assert_eq!(ended(&mut answer), Some(true));
    }

    #[test]
    fn commits_that_wait_are_sent_together_with_the_highest_offset_of_each_partition() {
        let mut commits = Commits::default();
        let mut first = want(&mut commits, &[(0, 5)]);
        let sent = commits.next(now()).expect("nothing is on its way");
        let mut others = [want(&mut commits, &[(0, 9), (1, 2)]), want(&mut commits, &[(0, 7)])];
        assert_eq!(commits.next(now()), None, "one request at a time");
        stored(&mut commits, sent);
        assert_eq!(ended(&mut first), Some(true));
        let sent = commits.next(now()).expect("the others wait");
        assert_eq!(sent, BTreeMap::from([(partition(0), 9), (partition(1), 2)]));
        stored(&mut commits, sent);
        assert_eq!(others.each_mut().map(ended), [Some(true), Some(true)]);
        assert!(commits.is_idle());
    }

    #[test]
    fn a_lower_offset_is_never_sent() {
        let mut commits = Commits::default();
        want(&mut commits, &[(0, 8)]);
        let sent = commits.next(now()).expect("it is sent");
        stored(&mut commits, sent);
        assert_eq!(ended(&mut want(&mut commits, &[(0, 3)])), Some(true));
        assert_eq!(commits.next(now()), None);
    }

    #[test]
    fn a_partition_that_is_gone_is_passed_over() {
        let mut commits = Commits::default();
        let mut answer = want(&mut commits, &[(0, 8)]);
        commits.gone(&[partition(0)]);
        assert_eq!(ended(&mut answer), Some(true));
        // Held again, it may be committed below what was stored before.
        want(&mut commits, &[(0, 2)]);
        assert_eq!(commits.next(now()), Some(BTreeMap::from([(partition(0), 2)])));
    }

    #[test]
    fn a_commit_that_fails_is_tried_again_until_its_time_is_over() {
        let mut commits = Commits::default();
        let mut answer = want(&mut commits, &[(0, 8)]);
        let start = now();
        for attempt in 0..3 {
            let sent = commits.next(start + attempt * AGAIN).expect("it is tried");
            let offsets = sent.into_iter().map(|(partition, offset)| (partition, offset, None)).collect();
            commits.reported(Err(Code::CoordinatorLoadInProgress), offsets, start + attempt * AGAIN);
            assert_eq!(commits.next(start + attempt * AGAIN), None, "not at once");
        }
        assert_eq!(ended(&mut answer), None);
        commits.expire(start + 2 * PATIENCE);
        assert_eq!(ended(&mut answer), Some(false));
    }

    #[test]
    fn what_is_never_reported_ends_and_others_go_on() {
        let mut commits = Commits::default();
        let mut lost = want(&mut commits, &[(0, 8)]);
        commits.next(now()).expect("it is sent");
        let later = now() + 2 * PATIENCE;
        commits.expire(later);
        assert_eq!(ended(&mut lost), Some(false));
        want(&mut commits, &[(0, 9)]);
        assert!(commits.next(later).is_some());
    }

    #[test]
    fn what_nobody_may_commit_is_not_tried_again() {
        let mut commits = Commits::default();
        let mut answer = want(&mut commits, &[(0, 8)]);
        commits.next(now()).expect("it is sent");
        commits.failed(Code::GroupAuthorizationFailed, now());
        assert_eq!(ended(&mut answer), Some(false));
    }
}
