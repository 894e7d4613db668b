//! Commits of offsets: one request at a time, the highest offset of each partition, and a time limit for every wait.
//!
//! The client's synchronous commit has no timeout that works. Commits are therefore asynchronous and their results arrive as
//! events; a caller gets a result after [`PATIENCE`] in any case.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use rdkafka::types::RDKafkaErrorCode as Code;
use saga_core::{message::TopicPartition, transport::TransportError};
use tokio::sync::oneshot;

use crate::error;

/// How long a commit is retried.
const PATIENCE: Duration = Duration::from_secs(10);

/// The wait before a failed commit is retried.
const AGAIN: Duration = Duration::from_millis(100);

/// The pending commits of a member.
#[derive(Default)]
pub(super) struct Commits {
    waiters: Vec<Waiter>,
    /// The request in flight, and when it was sent.
    sent: Option<(BTreeMap<TopicPartition, i64>, Instant)>,
    /// No request is sent before this time.
    not_before: Option<Instant>,
    /// The highest offset that is known to be stored, for each partition of this member.
    stored: HashMap<TopicPartition, i64>,
    /// Offsets of requests in flight that belong to the previous topic of a recreated one. Their report is ignored.
    outdated: HashMap<TopicPartition, i64>,
    last_error: Option<Code>,
}

struct Waiter {
    /// The offsets that are not stored yet.
    offsets: Vec<(TopicPartition, i64)>,
    deadline: Instant,
    done: oneshot::Sender<Result<(), TransportError>>,
}

impl Commits {
    /// Adds a commit for partitions of this member.
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

    /// Returns the next request, if one can be sent now. The caller must send it.
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

    /// Handles a report of the client: one error for the whole request, or one for each partition. A report of a request that was
    /// given up still counts for the offsets that it stored.
    pub(super) fn reported(&mut self, result: Result<(), Code>, offsets: Vec<(TopicPartition, i64, Option<Code>)>, now: Instant) {
        let mut failed = result.err();
        for (partition, offset, code) in &offsets {
            if self.outdated.get(partition) == Some(offset) {
                self.outdated.remove(partition);
                continue;
            }
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

    /// Handles a failed request. It is retried, unless the error lasts until something is changed; the callers then get the
    /// error.
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

    /// Removes partitions that this member no longer has. Commits no longer wait for them.
    pub(super) fn gone(&mut self, partitions: &[TopicPartition]) {
        for waiter in &mut self.waiters {
            waiter.offsets.retain(|(partition, _)| !partitions.contains(partition));
        }
        self.stored.retain(|partition, _| !partitions.contains(partition));
        self.outdated.retain(|partition, _| !partitions.contains(partition));
        self.settle();
    }

    /// Forgets the stored offsets of these partitions, because their topics were recreated and the offsets belong to the previous
    /// ones.
    pub(super) fn made_anew(&mut self, partitions: &[TopicPartition]) {
        self.stored.retain(|partition, _| !partitions.contains(partition));
        let sent = self.sent.iter().flat_map(|(sent, _)| sent);
        let recreated = sent.filter(|(partition, _)| partitions.contains(partition));
        self.outdated.extend(recreated.map(|(partition, offset)| (partition.clone(), *offset)));
    }

    /// Whether commits of these partitions are pending.
    pub(super) fn concern(&self, partitions: &[TopicPartition]) -> bool {
        self.waiters.iter().flat_map(|waiter| &waiter.offsets).any(|(partition, _)| partitions.contains(partition))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Fails the commits that have reached their time limit.
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

    /// Completes the commits that have all their offsets stored.
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
    fn a_report_of_an_offset_before_the_recreation_is_ignored() {
        let mut commits = Commits::default();
        want(&mut commits, &[(0, 20), (1, 20)]);
        let sent = commits.next(now()).expect("it is sent");
        commits.made_anew(&[partition(0)]);
        stored(&mut commits, sent);
        let mut answer = want(&mut commits, &[(0, 3)]);
        assert_eq!(ended(&mut answer), None, "20 was an offset of the previous topic");
        while let Some(sent) = commits.next(now()) {
            stored(&mut commits, sent);
        }
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
        // When the partition is assigned again, an offset below the stored one can be committed.
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
