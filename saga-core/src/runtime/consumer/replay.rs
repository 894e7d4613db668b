//! A range of a partition is read once more.
//!
//! What was taken is done first. Then, in one transaction under the partition's epoch, the replay has begun and the partition stands
//! at the beginning of the range; at its end, in one transaction again, the replay is done and the partition stands where it stood
//! before. Between the two its position is in the database as ever, so that a crash or another owner goes on within the range.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{Consumer, Stage, asked, partition::Owned};
use crate::{
    engine::{
        parking::Parked,
        replay::{self, Progress, Range},
    },
    message::{Received, TopicPartition},
    runtime::{
        core::Core,
        gap::Gap,
        replays::{self, Wanted},
    },
    store::{Ownership, Replay, ReplayId, ReplayState, ReplayStep, StoreError},
    time::Timestamp,
};

/// For how long nothing comes at the end of a range before it has ended: it ends in offsets that no record has, as a transaction of
/// a producer or compaction leaves them.
const IDLE: Duration = Duration::from_secs(30);
/// That a replay cannot be done is noted again after as long as after so many failures.
const REFUSED_AGAIN: u32 = 3;
/// Parked messages of one key whose positions are looked at.
const PER_KEY: usize = 100_000;

/// A replay of an owned partition.
#[derive(Debug)]
pub(super) struct Replaying {
    replay: Replay,
    range: Range,
    phase: Phase,
    /// Offsets of the range that were parked when it began.
    parked: HashSet<i64>,
    /// All that is in the range was delivered.
    beyond: bool,
    /// When something of it was heard last.
    heard: Timestamp,
    /// The database has failed: when it is asked again.
    again: Option<Timestamp>,
    detail: Option<String>,
}

/// What is done of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What was taken before is done first; what comes meanwhile comes again.
    Draining,
    /// The range is read.
    Reading,
}

impl Replaying {
    fn new(replay: Replay, range: Range, phase: Phase, now: Timestamp) -> Self {
        let (parked, beyond) = (HashSet::new(), false);
        Self { replay, range, phase, parked, beyond, heard: now, again: None, detail: None }
    }

    /// Whether its offsets are of a log that is gone, now that the topic is `log`.
    fn is_of_before(&self, log: Option<&str>) -> bool {
        replay::is_of_another(self.replay.log.as_deref(), log)
    }

    pub(super) fn is_of(&self, partition: &TopicPartition) -> bool {
        self.replay.partition == *partition
    }
}

/// What a task reports that took a step of a replay.
pub(super) struct Moved {
    step: ReplayStep,
    result: Result<(bool, HashSet<i64>), StoreError>,
}

/// A replay that cannot be done. Its partition is read on while that is noted.
pub(super) struct Refused {
    step: ReplayStep,
    /// When it is noted; `None` while it is.
    at: Option<Timestamp>,
}

impl Owned {
    /// Those of `records` that are taken: while a range is read once more, none beyond it.
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

    /// All before `next` that was not delivered has no record: while a range is read once more, none beyond it is passed.
    pub(super) fn pass(&mut self, next: i64, now: Timestamp) {
        let to = match &mut self.replay {
            // It comes again.
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

    /// Since when claims count for the record at `offset`; `None`: since ever.
    pub(super) fn again(&self, offset: i64) -> Option<Timestamp> {
        let replaying = self.replay.as_ref().filter(|replaying| replaying.phase == Phase::Reading)?;
        let since = replaying.replay.again.then(|| replays::since(replaying.replay.at));
        replay::again(replaying.range, offset, replaying.parked.contains(&offset), since)
    }

    /// The step that is to be taken now, if there is one.
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
                // One that was never read here goes on where the range ends.
                let resume = self.watermark.prefix().or(self.applied).unwrap_or(range.to);
                Some(step(ReplayState::Running, Some(range.from), Some(resume), None))
            }
            Phase::Reading => {
                let of = |wanted: &&Wanted| wanted.replay.id == replay.id;
                let stopping = wanted.iter().find(of).map_or(replay.state, |wanted| wanted.replay.state) == ReplayState::Stopping;
                let progress = Progress { prefix: self.watermark.prefix(), open, beyond: replaying.beyond, stopping };
                if !replay::is_over(range, progress) {
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
    /// Takes the next steps of replays.
    pub(super) fn replay(&mut self) {
        self.note_refused();
        let wanted = self.core.replays();
        // What was told of before is written before.
        if !self.advances.is_empty() {
            return;
        }
        if wanted.is_empty() && self.partitions.values().all(|owned| owned.replay.is_none()) {
            return;
        }
        let now = self.core.clock.now();
        let held_up = self.flow.is_full() || self.outbox_full || self.outages > 0;
        let mut steps = Vec::new();
        for (partition, owned) in &mut self.partitions {
            if owned.stage != Stage::Reading || owned.revoked.is_some() {
                continue;
            }
            if owned.replay.is_none() {
                let waits =
                    |wanted: &&Wanted| wanted.replay.partition == *partition && wanted.replay.state == ReplayState::Waiting;
                match wanted.iter().find(waits) {
                    // It shows soon which of the two is older.
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

    /// Notes those that cannot be done.
    fn note_refused(&mut self) {
        let now = self.core.clock.now();
        for refused in &mut self.refused {
            if refused.at.take_if(|at| *at <= now).is_some() {
                let (core, step) = (self.core.clone(), refused.step.clone());
                self.moves.spawn(async move { Moved { result: take_step(&core, &step, false).await, step } });
            }
        }
    }

    /// It was noted that a replay cannot be done, or not.
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
                tracing::warn!(service, replay = id, %partition, %error, "that a replay cannot be done could not be written; waiting");
                let again = self.core.clock.now().after(self.core.outage_backoff(REFUSED_AGAIN));
                self.refused.iter_mut().filter(|refused| refused.step.id == step.id).for_each(|refused| refused.at = Some(again));
                self.core.moved();
            }
        }
    }

    /// Ends a replay of `partition` whose offsets are of the log before.
    pub(super) fn refuse_replay_of_before(&mut self, partition: &TopicPartition) {
        let (now, log) = (self.core.clock.now(), self.core.logs.of(&partition.topic));
        let Some(owned) = self.partitions.get_mut(partition) else { return };
        let before = |replaying: &mut Box<Replaying>| owned.gone || replaying.is_of_before(log.as_deref());
        if let Some(replaying) = owned.replay.take_if(before) {
            let reason = replays::of_before(partition);
            let step = refused(replaying.replay.id, partition.clone(), owned.epoch, &reason, now);
            self.refused.push(Refused { step, at: Some(now) });
        }
    }

    /// When something of a replay is to be looked at, if only the time is missing.
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
            // Another has the partition, which shows by itself, or the replay has ended: it goes on as before, with what came meanwhile.
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
                return self.core.moved();
            }
        }
        self.looked_at(&step.id);
    }

    /// What was looked at of this replay before is not so any more.
    fn looked_at(&self, id: &ReplayId) {
        let left: Vec<_> = self.core.replays().iter().filter(|wanted| wanted.replay.id != *id).cloned().collect();
        self.core.set_replays(left);
        self.core.replay_wake.notify_one();
        self.core.moved();
    }

    /// Whether `gap` is one in a range that is read once more: then that has ended, and the partition goes on where it was.
    pub(super) fn ends_replay(&mut self, gap: &Gap) -> bool {
        let Some(owned) = self.partitions.get_mut(&gap.partition).filter(|owned| owned.stage == Stage::Reading) else {
            return false;
        };
        match &mut owned.replay {
            // It is set to another place in a moment.
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

/// Whether `step` begins a range whose records are handled again.
fn owned_again(partitions: &std::collections::HashMap<TopicPartition, Owned>, step: &ReplayStep) -> bool {
    let replay = partitions.get(&step.owned.partition).and_then(|owned| owned.replay.as_ref());
    step.state == ReplayState::Running && replay.is_some_and(|replaying| replaying.replay.again)
}

fn refused(id: ReplayId, partition: TopicPartition, epoch: i64, reason: &str, at: Timestamp) -> ReplayStep {
    let owned = Ownership { partition, epoch, applied: None, log: None };
    let detail = Some(reason.to_owned());
    ReplayStep { id, owned, state: ReplayState::Refused, from: None, to: None, resume: None, detail, at }
}

/// Takes `step`; says whether it was taken, and, of one that begins, which offsets of its partition are parked.
async fn take_step(core: &Arc<Core>, step: &ReplayStep, again: bool) -> Result<(bool, HashSet<i64>), StoreError> {
    let parked = match again {
        true => parked_offsets(core, &step.owned.partition, &crate::runtime::parked::keys(core).await?).await?,
        false => HashSet::new(),
    };
    Ok((core.store().replays().step(&core.name, step).await?, parked))
}

async fn parked_offsets(core: &Core, partition: &TopicPartition, keys: &[Parked]) -> Result<HashSet<i64>, StoreError> {
    let mut offsets = HashSet::new();
    for key in keys.iter().filter(|key| key.place.topic == partition.topic) {
        let messages = core.store().parked(&core.name, &key.place.topic, &key.place.key, PER_KEY).await?;
        let here = messages.iter().filter(|message| message.received.partition == partition.partition);
        offsets.extend(here.map(|message| message.received.offset));
    }
    Ok(offsets)
}

/// The replays of `partitions`, just taken over, that an earlier owner has begun.
pub(super) async fn running(core: &Core, partitions: &[TopicPartition], keys: &[Parked]) -> Result<Vec<Replaying>, StoreError> {
    let now = core.clock.now();
    let mut running = Vec::new();
    for replay in core.store().replays().list(&core.name, true, u32::MAX).await? {
        let (Some(from), Some(to)) = (replay.from, replay.to) else { continue };
        if replay.state == ReplayState::Waiting || !partitions.contains(&replay.partition) {
            continue;
        }
        let parked = match replay.again {
            true => parked_offsets(core, &replay.partition, keys).await?,
            false => HashSet::new(),
        };
        running.push(Replaying { parked, ..Replaying::new(replay, Range { from, to }, Phase::Reading, now) });
    }
    Ok(running)
}
