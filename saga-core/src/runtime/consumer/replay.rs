//! Replays: a range of a partition is handled again.
//!
//! First, all messages that were taken are finished. Then one transaction, under the epoch of the partition, marks the replay as running
//! and sets the partition to the beginning of the range. Another transaction at the end marks the replay as done and sets the partition
//! back to its previous position. In between, the position is written to the database as usual, so that the replay continues after a crash
//! or under another owner.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{Consumer, Stage, asked, partition::Owned};
use crate::{
    engine::{
        parking::Parked,
        replay::{self, Progress, Range},
    },
    message::{Received, TopicPartition, listener::Listener},
    runtime::{
        core::Core,
        gap::Gap,
        item::Item,
        replays::{self, Wanted},
    },
    store::{Ownership, Replay, ReplayId, ReplayState, ReplayStep, StoreError},
    time::Timestamp,
};

/// How long a range must deliver nothing until its remaining offsets count as empty. Offsets without records are left by transactions of
/// producers and by compaction.
const IDLE: Duration = Duration::from_secs(30);
/// The number of failures whose backoff is the wait before a refusal is written again.
const REFUSED_AGAIN: u32 = 3;
/// The most parked messages of one key whose positions are read.
const PER_KEY: usize = 100_000;

/// An offset with parked messages, and which part of its record is parked.
type ParkedPart = (i64, Part);

/// Which part of a record is parked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    /// All parts of the record: the parked message names no handler.
    All,
    /// The part for the handler that has this name in the inbox.
    Of(Option<Arc<str>>),
}

impl Part {
    fn of(listener: Option<&Listener>) -> Self {
        listener.map_or(Self::All, |listener| Self::Of(listener.known_as.clone()))
    }
}

/// A replay of an owned partition.
#[derive(Debug)]
pub(super) struct Replaying {
    replay: Replay,
    range: Range,
    phase: Phase,
    /// What was parked of the partition when the replay began.
    parked: HashSet<ParkedPart>,
    /// Whether everything in the range was delivered.
    beyond: bool,
    /// When the subscription last delivered something, or had a reason not to.
    heard: Timestamp,
    /// When the database is asked again, after a failure.
    again: Option<Timestamp>,
    detail: Option<String>,
}

/// The phase of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Messages taken earlier are being finished. Records that arrive meanwhile are dropped; they are delivered again.
    Draining,
    /// The range is being read.
    Reading,
}

impl Replaying {
    fn new(replay: Replay, range: Range, phase: Phase, now: Timestamp) -> Self {
        let (parked, beyond) = (HashSet::new(), false);
        Self { replay, range, phase, parked, beyond, heard: now, again: None, detail: None }
    }

    /// Whether the offsets of the replay belong to a log that no longer exists, given the topic's current identity `log`.
    fn is_of_before(&self, log: Option<&str>) -> bool {
        replay::is_of_another(self.replay.log.as_deref(), log)
    }

    pub(super) fn is_of(&self, partition: &TopicPartition) -> bool {
        self.replay.partition == *partition
    }
}

/// The result of the task that writes a step of a replay.
pub(super) struct Moved {
    step: ReplayStep,
    result: Result<(bool, HashSet<ParkedPart>), StoreError>,
}

/// A replay that cannot be done. Its partition is read as usual while the refusal is written.
pub(super) struct Refused {
    step: ReplayStep,
    /// When the refusal is written; `None` during the write.
    at: Option<Timestamp>,
}

impl Owned {
    /// The part of `records` to take: during a replay, only records within its range.
    pub(super) fn within_replay(&mut self, mut records: Vec<Received>, now: Timestamp) -> Vec<Received> {
        if let Some(replaying) = &mut self.replay {
            replaying.heard = now;
            match replaying.phase {
                Phase::Draining => records.clear(),
                Phase::Reading => {
                    let count = records.len();
                    records.retain(|received| received.offset < replaying.range.to);
                    replaying.beyond |= records.len() < count;
                }
            }
        }
        records
    }

    /// Records that the offsets before `next` that were not delivered have no records; during a replay, only within its range.
    pub(super) fn pass(&mut self, next: i64, now: Timestamp) {
        let to = match &mut self.replay {
            // These offsets are delivered again.
            Some(replaying) if replaying.phase == Phase::Draining => return,
            Some(replaying) => {
                replaying.heard = now;
                replaying.beyond |= next >= replaying.range.to;
                next.min(replaying.range.to)
            }
            None => next,
        };
        self.watermark.pass(to);
    }

    /// The time from which claims count as duplicates of `item`, the record at `offset`; `None` if all claims do.
    pub(super) fn again(&self, offset: i64, item: &Item) -> Option<Timestamp> {
        let replaying = self.replay.as_ref().filter(|replaying| replaying.phase == Phase::Reading)?;
        let since = replaying.replay.again.then(|| replays::since(replaying.replay.at));
        let is_parked = !replaying.parked.is_empty()
            && [(offset, Part::All), (offset, Part::of(item.listener()))].iter().any(|part| replaying.parked.contains(part));
        replay::again(replaying.range, offset, is_parked, since)
    }

    /// The next step of the replay, if it can be taken now.
    fn replay_step(&mut self, wanted: &[Wanted], now: Timestamp) -> Option<ReplayStep> {
        let replaying = self.replay.as_mut().filter(|replaying| replaying.again.is_none_or(|again| again <= now))?;
        let open = self.watermark.window();
        let (replay, range) = (&replaying.replay, replaying.range);
        let step = |state, applied, resume, detail| ReplayStep {
            id: replay.id.clone(),
            owned: Ownership { partition: replay.partition.clone(), epoch: self.epoch, applied, log: None },
            state,
            from: Some(range.from),
            to: Some(range.to),
            resume,
            detail,
            at: now,
        };
        match replaying.phase {
            Phase::Draining if open > 0 => None,
            Phase::Draining => {
                // A partition that was never read continues at the end of the range.
                let resume = self.watermark.prefix().or(self.applied).unwrap_or(range.to);
                Some(step(ReplayState::Running, Some(range.from), Some(resume), None))
            }
            Phase::Reading => {
                let of = |wanted: &&Wanted| wanted.replay.id == replay.id;
                let stopping = wanted.iter().find(of).map_or(replay.state, |wanted| wanted.replay.state) == ReplayState::Stopping;
                let progress = Progress { prefix: self.watermark.prefix(), open, beyond: replaying.beyond, stopping };
                if !replay::is_finished(range, progress) {
                    return None;
                }
                let at = progress.prefix.unwrap_or(range.from).min(range.to);
                let (state, detail) = match stopping && at < range.to && !replaying.beyond {
                    true => (ReplayState::Cancelled, Some(format!("it was cancelled at offset {at}"))),
                    false => (ReplayState::Done, replaying.detail.clone()),
                };
                let resume = replay.resume.unwrap_or(range.to);
                Some(step(state, Some(resume), Some(resume), detail))
            }
        }
    }
}

impl Consumer {
    /// Starts the steps of replays that can be taken.
    pub(super) fn replay(&mut self) {
        self.note_refused();
        let wanted = self.core.replays();
        // A running write of applied offsets must end before the position is changed.
        if !self.advances.is_empty() {
            return;
        }
        if wanted.is_empty() && self.partitions.values().all(|owned| owned.replay.is_none()) {
            return;
        }
        let now = self.core.clock.now();
        let held_up = self.backpressure.is_full() || self.outbox_full || self.outages > 0;
        let mut steps = Vec::new();
        for (partition, owned) in &mut self.partitions {
            if owned.stage != Stage::Reading || owned.revoked.is_some() {
                continue;
            }
            if owned.replay.is_none() {
                let waits =
                    |wanted: &&Wanted| wanted.replay.partition == *partition && wanted.replay.state == ReplayState::Waiting;
                match wanted.iter().find(waits) {
                    // Either the replay or the partition has an outdated log. The next answer on the topic's identity decides which.
                    Some(Wanted { replay, range: Ok(_) })
                        if replay::is_of_another(replay.log.as_deref(), owned.log.as_deref()) =>
                    {
                        continue;
                    }
                    Some(Wanted { replay, range: Ok(range) }) => {
                        owned.replay = Some(Box::new(Replaying::new(replay.clone(), *range, Phase::Draining, now)));
                    }
                    Some(Wanted { replay, range: Err(reason) }) => {
                        if !self.refused.iter().any(|refused| refused.step.id == replay.id) {
                            let step = refused(replay.id.clone(), partition.clone(), owned.epoch, reason, now);
                            self.refused.push(Refused { step, at: Some(now) });
                        }
                        continue;
                    }
                    None => continue,
                }
            }
            let window = owned.watermark.window();
            let parked = self.full_keys.iter().any(|(full, _)| full == partition);
            if let Some(replaying) = owned.replay.as_mut().filter(|replaying| replaying.phase == Phase::Reading) {
                if held_up || parked || window > 0 {
                    replaying.heard = now;
                } else if !replaying.beyond && replaying.heard.after(IDLE) <= now {
                    replaying.beyond = true;
                    replaying.detail =
                        Some(format!("no record came for {} s: the rest of its offsets have none", IDLE.as_secs()));
                }
            }
            if let Some(step) = owned.replay_step(&wanted, now) {
                owned.stage = Stage::Skipping;
                steps.push(step);
            }
        }
        self.note_refused();
        for step in steps {
            let core = self.core.clone();
            let begins = owned_again(&self.partitions, &step);
            self.moves
                .spawn(async move { Moved { result: asked(&core, "replay", take_step(&core, &step, begins)).await, step } });
        }
    }

    /// Starts to write the refusals that are due.
    fn note_refused(&mut self) {
        let now = self.core.clock.now();
        for refused in &mut self.refused {
            if refused.at.take_if(|at| *at <= now).is_some() {
                let (core, step) = (self.core.clone(), refused.step.clone());
                self.moves.spawn(async move { Moved { result: take_step(&core, &step, false).await, step } });
            }
        }
    }

    /// Handles the result of writing a refusal.
    fn refused(&mut self, step: &ReplayStep, result: Result<bool, StoreError>) {
        let (service, id, partition) = (&*self.core.name, step.id.as_str(), &step.owned.partition);
        match result {
            Ok(noted) => {
                if noted {
                    tracing::warn!(service, replay = id, %partition, detail = step.detail, "a replay cannot be done");
                }
                self.refused.retain(|refused| refused.step.id != step.id);
                self.looked_at(&step.id);
            }
            Err(error) => {
                tracing::warn!(service, replay = id, %partition, %error, "the failure of a replay could not be written; waiting");
                let again = self.core.clock.now().after(self.core.outage_backoff(REFUSED_AGAIN));
                self.refused.iter_mut().filter(|refused| refused.step.id == step.id).for_each(|refused| refused.at = Some(again));
                self.core.record_activity();
            }
        }
    }

    /// Ends a replay of `partition` whose offsets belong to the previous log.
    pub(super) fn refuse_replay_of_before(&mut self, partition: &TopicPartition) {
        let (now, log) = (self.core.clock.now(), self.core.logs.of(&partition.topic));
        let Some(owned) = self.partitions.get_mut(partition) else { return };
        let before = |replaying: &mut Box<Replaying>| owned.recreated || replaying.is_of_before(log.as_deref());
        if let Some(replaying) = owned.replay.take_if(before) {
            let reason = replays::of_before(partition);
            let step = refused(replaying.replay.id, partition.clone(), owned.epoch, &reason, now);
            self.refused.push(Refused { step, at: Some(now) });
        }
    }

    /// When a replay needs attention next, if it waits only for the time.
    pub(super) fn replay_at(&self) -> Option<Timestamp> {
        let refused = self.refused.iter().filter_map(|refused| refused.at).min();
        if !self.advances.is_empty() {
            return refused;
        }
        let reading = self.partitions.values().filter(|owned| owned.stage == Stage::Reading);
        reading
            .filter_map(|owned| {
                let replaying = owned.replay.as_ref()?;
                let idle = (replaying.phase == Phase::Reading && !replaying.beyond).then(|| replaying.heard.after(IDLE));
                replaying.again.or(idle)
            })
            .chain(refused)
            .min()
    }

    pub(super) fn replay_moved(&mut self, Moved { step, result }: Moved) {
        if step.state == ReplayState::Refused {
            return self.refused(&step, result.map(|(noted, _)| noted));
        }
        let now = self.core.clock.now();
        let partition = step.owned.partition.clone();
        let skipping = |owned: &&mut Owned| owned.stage == Stage::Skipping && owned.epoch == step.owned.epoch;
        let Some(owned) = self.partitions.get_mut(&partition).filter(skipping) else { return };
        owned.stage = Stage::Reading;
        let service = &*self.core.name;
        let (id, state) = (step.id.as_str(), step.state.as_str());
        match result {
            Ok((true, parked)) => {
                tracing::info!(service, replay = id, %partition, state, detail = step.detail, "a replay has moved on");
                match (step.state, &mut owned.replay) {
                    (ReplayState::Running, Some(replaying)) => {
                        (replaying.replay.state, replaying.replay.resume) = (step.state, step.resume);
                        (replaying.phase, replaying.parked, replaying.heard) = (Phase::Reading, parked, now);
                        replaying.again = None;
                    }
                    _ => owned.replay = None,
                }
                if let Some(applied) = step.owned.applied {
                    owned.read_from(Some(applied));
                    self.subscription.start(&[(partition, Some(applied))]);
                }
            }
            // Another process owns the partition, which the fencing reveals, or the replay has ended. The partition continues as before,
            // and the records that were dropped meanwhile are delivered again.
            Ok((false, _)) => {
                owned.replay = None;
                let at = owned.watermark.prefix().or(owned.applied);
                self.subscription.start(&[(partition, at)]);
            }
            Err(error) => {
                tracing::warn!(service, replay = id, %partition, %error, "a step of a replay could not be written; waiting");
                let wait = self.core.outage_backoff(owned.setbacks);
                if let Some(replaying) = &mut owned.replay {
                    replaying.again = Some(now.after(wait));
                }
                return self.core.record_activity();
            }
        }
        self.looked_at(&step.id);
    }

    /// Removes the replay from the list as last read, and has the list read again.
    fn looked_at(&self, id: &ReplayId) {
        let left: Vec<_> = self.core.replays().iter().filter(|wanted| wanted.replay.id != *id).cloned().collect();
        self.core.set_replays(left);
        self.core.replay_wake.notify_one();
        self.core.record_activity();
    }

    /// Whether `gap` lies in a range that is being replayed. Then the replay ends, and the partition continues at its previous position.
    pub(super) fn ends_replay(&mut self, gap: &Gap) -> bool {
        let Some(owned) = self.partitions.get_mut(&gap.partition).filter(|owned| owned.stage == Stage::Reading) else {
            return false;
        };
        match &mut owned.replay {
            // The partition is about to be set to another offset.
            Some(replaying) if replaying.phase == Phase::Draining => true,
            Some(replaying) => {
                replaying.beyond = true;
                replaying.detail = Some(format!("records {} to {} were removed from the log", gap.wanted, gap.oldest - 1));
                true
            }
            None => false,
        }
    }
}

/// Whether `step` begins a replay that handles its records again.
fn owned_again(partitions: &std::collections::HashMap<TopicPartition, Owned>, step: &ReplayStep) -> bool {
    let replay = partitions.get(&step.owned.partition).and_then(|owned| owned.replay.as_ref());
    step.state == ReplayState::Running && replay.is_some_and(|replaying| replaying.replay.again)
}

fn refused(id: ReplayId, partition: TopicPartition, epoch: i64, reason: &str, at: Timestamp) -> ReplayStep {
    let owned = Ownership { partition, epoch, applied: None, log: None };
    let detail = Some(reason.to_owned());
    ReplayStep { id, owned, state: ReplayState::Refused, from: None, to: None, resume: None, detail, at }
}

/// Writes `step`. Returns whether it was written and, if it begins a range, which parts of records are parked.
async fn take_step(core: &Arc<Core>, step: &ReplayStep, again: bool) -> Result<(bool, HashSet<ParkedPart>), StoreError> {
    let parked = match again {
        true => parked_parts(core, &step.owned.partition, &crate::runtime::parked::keys(core).await?).await?,
        false => HashSet::new(),
    };
    Ok((core.store().replays().step(&core.name, step).await?, parked))
}

async fn parked_parts(core: &Core, partition: &TopicPartition, keys: &[Parked]) -> Result<HashSet<ParkedPart>, StoreError> {
    let mut parts = HashSet::new();
    for key in keys.iter().filter(|key| key.place.topic == partition.topic) {
        let messages = core.store().parked(&core.name, &key.place.topic, &key.place.key, PER_KEY).await?;
        let here = messages.iter().filter(|message| message.received.partition == partition.partition);
        parts.extend(here.map(|message| {
            let received = &message.received;
            (received.offset, Part::of(Listener::of(&received.record).as_ref()))
        }));
    }
    Ok(parts)
}

/// Returns the replays of the newly acquired `partitions` that an earlier owner began.
pub(super) async fn running(core: &Core, partitions: &[TopicPartition], keys: &[Parked]) -> Result<Vec<Replaying>, StoreError> {
    let now = core.clock.now();
    let mut running = Vec::new();
    for replay in core.store().replays().list(&core.name, true, u32::MAX).await? {
        let (Some(from), Some(to)) = (replay.from, replay.to) else { continue };
        if replay.state == ReplayState::Waiting || !partitions.contains(&replay.partition) {
            continue;
        }
        let parked = match replay.again {
            true => parked_parts(core, &replay.partition, keys).await?,
            false => HashSet::new(),
        };
        running.push(Replaying { parked, ..Replaying::new(replay, Range { from, to }, Phase::Reading, now) });
    }
    Ok(running)
}
