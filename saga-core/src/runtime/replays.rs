//! Replays: an operator has a range of a topic read once more. What is asked for is a row in the database, so that whoever owns the
//! partition carries it out, in whatever process, now or after its next start; see `consumer/replay`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{core::Core, logs};
use crate::{
    engine::replay::{self, Held, Range},
    message::TopicPartition,
    store::{Replay, ReplayId, ReplayState, StoreError},
    time::Timestamp,
    transport::{PartitionOffsets, TransportError},
};

/// How often replays are looked for that another process was asked for.
const LOOK: Duration = Duration::from_secs(5);
/// Open replays that are looked at.
const MOST: u32 = 1_000;
/// How much younger what a replay claims is, at least, than the replay: what was claimed up to then does not count.
const AFTER: Duration = Duration::from_millis(1);
/// The most records of a replay, if nothing else is said.
const LIMIT: i64 = 100_000;

/// Where a replay begins, or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayPoint {
    /// At this offset.
    Offset(i64),
    /// At the first record that is as young, by the log's timestamps.
    Time(Timestamp),
}

/// Which claims do not count for a replay that was asked for at `at`: those from before this.
pub(crate) fn since(at: Timestamp) -> Timestamp {
    at.after(AFTER)
}

impl ReplayPoint {
    fn offset(self) -> Option<i64> {
        if let Self::Offset(offset) = self { Some(offset) } else { None }
    }

    fn time(self) -> Option<Timestamp> {
        if let Self::Time(time) = self { Some(time) } else { None }
    }
}

/// What is to be read once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    /// A topic that the service handles.
    pub topic: String,
    /// The partition; `None`: all of them.
    pub partition: Option<i32>,
    /// Where it begins.
    pub from: ReplayPoint,
    /// Before which record it ends; `None`: where the partition ends now.
    pub to: Option<ReplayPoint>,
    /// Whether what was handled before is handled again. Without it, only what was not has an effect.
    pub again: bool,
    /// The most records that it may span, all partitions together: 100,000 if nothing else is said.
    pub limit: i64,
    /// Why.
    pub reason: String,
    /// Who wants it.
    pub by: String,
}

impl ReplayRequest {
    /// All partitions of `topic`, from there to where they end now.
    pub fn new(topic: impl Into<String>, from: ReplayPoint) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            from,
            to: None,
            again: false,
            limit: LIMIT,
            reason: String::new(),
            by: String::new(),
        }
    }
}

/// What a replay would read of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedReplay {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
    /// The oldest offset that is in the log.
    pub oldest: i64,
    /// The replay, if it was asked for.
    pub id: Option<ReplayId>,
}

impl PlannedReplay {
    /// The most records that it reads.
    pub fn records(&self) -> i64 {
        self.to - self.from
    }
}

/// Why a replay is not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The service does not handle the topic.
    #[error("this service handles no topic `{topic}`; it handles {topics}")]
    UnknownTopic {
        /// What was named.
        topic: String,
        /// What there is.
        topics: String,
    },
    /// The topic has no such partition.
    #[error("the topic `{topic}` has no partition {partition}; it has {count}, from 0")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was named.
        partition: i32,
        /// How many there are.
        count: usize,
    },
    /// The range is not in the log.
    #[error("{partition}: {reason}")]
    Unfit {
        /// The partition.
        partition: TopicPartition,
        /// Why.
        reason: String,
    },
    /// The range is too large.
    #[error("the range spans {records} records, and at most {limit} are replayed at once: narrow it, or raise the limit")]
    TooMany {
        /// How many there are.
        records: i64,
        /// The limit.
        limit: i64,
    },
    /// One of the partition has not ended.
    #[error("a replay of {0} has not ended: wait for it, or cancel it")]
    Busy(TopicPartition),
    /// The log.
    #[error(transparent)]
    Log(#[from] TransportError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What `request` would read, partition by partition.
pub(crate) async fn plan(core: &Core, request: &ReplayRequest) -> Result<Vec<PlannedReplay>, ReplayError> {
    let topics = core.directory.topics();
    if !topics.contains(&request.topic) {
        return Err(ReplayError::UnknownTopic { topic: request.topic.clone(), topics: topics.join(", ") });
    }
    let begins = core.transport.offsets(&request.topic, request.from.time()).await?;
    let ends = end_times(core, &request.topic, request.to.and_then(ReplayPoint::time)).await?;
    if let Some(partition) = request.partition.filter(|wanted| !begins.iter().any(|of| of.partition.partition == *wanted)) {
        return Err(ReplayError::UnknownPartition { topic: request.topic.clone(), partition, count: begins.len() });
    }
    let wanted = |of: &&PartitionOffsets| request.partition.is_none_or(|wanted| of.partition.partition == wanted);
    let (mut planned, mut empty) = (Vec::new(), None);
    for of in begins.iter().filter(wanted) {
        let from = request.from.offset().unwrap_or(of.at);
        let to = request.to.and_then(ReplayPoint::offset).or_else(|| ends.get(&of.partition).copied());
        let partition = of.partition.clone();
        match replay::range(Held { oldest: of.oldest, end: of.end }, from, to) {
            Ok(Range { from, to }) => planned.push(PlannedReplay { partition, from, to, oldest: of.oldest, id: None }),
            // Of all partitions some may have nothing.
            Err(unfit @ replay::Unfit::Empty { .. }) => empty = Some(ReplayError::Unfit { partition, reason: unfit.to_string() }),
            Err(unfit) => return Err(ReplayError::Unfit { partition, reason: unfit.to_string() }),
        }
    }
    if let Some(empty) = empty.filter(|_| planned.is_empty()) {
        return Err(empty);
    }
    let records = planned.iter().map(PlannedReplay::records).sum();
    if records > request.limit {
        return Err(ReplayError::TooMany { records, limit: request.limit });
    }
    Ok(planned)
}

async fn end_times(core: &Core, topic: &str, to: Option<Timestamp>) -> Result<BTreeMap<TopicPartition, i64>, TransportError> {
    let Some(to) = to else { return Ok(BTreeMap::new()) };
    Ok(core.transport.offsets(topic, Some(to)).await?.into_iter().map(|of| (of.partition, of.at)).collect())
}

/// Asks for what `request` says.
pub(crate) async fn ask(core: &Core, request: &ReplayRequest) -> Result<Vec<PlannedReplay>, ReplayError> {
    let mut planned = plan(core, request).await?;
    logs::ask(core, std::slice::from_ref(&request.topic)).await;
    let log = core.logs.of(&request.topic).map(|log| log.to_string());
    let open = core.store().replays().list(&core.name, true, MOST).await?;
    if let Some(busy) = planned.iter().find(|planned| open.iter().any(|open| open.partition == planned.partition)) {
        return Err(ReplayError::Busy(busy.partition.clone()));
    }
    let now = core.clock.now();
    // Also where the clock stands still or goes back, each replay is younger than those before it, and than what they have claimed.
    let last = core.store().replays().list(&core.name, false, 1).await?.first().map(|replay| replay.at.after(AFTER));
    let at = last.map_or(now, |last| last.max(now));
    for planned in &mut planned {
        let id = ReplayId::from(core.ids.uuid(now));
        let replay = Replay {
            id: id.clone(),
            partition: planned.partition.clone(),
            from: Some(planned.from),
            from_time: request.from.time(),
            to: Some(planned.to),
            to_time: request.to.and_then(ReplayPoint::time),
            limit: request.limit,
            again: request.again,
            reason: request.reason.clone(),
            by: request.by.clone(),
            at,
            state: ReplayState::Waiting,
            resume: None,
            ended_at: None,
            detail: None,
            log: log.clone(),
            applied: None,
        };
        if !core.store().replays().ask(&core.name, &replay).await? {
            return Err(ReplayError::Busy(planned.partition.clone()));
        }
        tracing::info!(
            service = &*core.name,
            replay = id.as_str(),
            partition = %planned.partition,
            from = planned.from,
            to = planned.to,
            again = request.again,
            by = request.by,
            reason = request.reason,
            "a replay was asked for"
        );
        planned.id = Some(id);
    }
    core.replay_wake.notify_one();
    Ok(planned)
}

/// Ends a replay that has not ended.
pub(crate) async fn stop(core: &Core, id: &ReplayId) -> Result<bool, StoreError> {
    let stopped = core.store().replays().stop(&core.name, id, core.clock.now()).await?;
    core.replay_wake.notify_one();
    Ok(stopped)
}

/// A replay that has not ended, and which range it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) replay: Replay,
    /// The range, or why there is none.
    pub(crate) range: Result<Range, String>,
}

/// Looks for replays, for ever.
pub(crate) async fn watch(core: Arc<Core>) {
    loop {
        match look(&core).await {
            Ok(wanted) => {
                let changed = *core.replays() != *wanted;
                if changed {
                    core.set_replays(wanted);
                    core.lot_wake.notify_one();
                }
            }
            Err(error) => tracing::warn!(service = &*core.name, %error, "replays could not be looked for"),
        }
        tokio::select! {
            () = core.clock.sleep(LOOK) => {}
            () = core.replay_wake.notified() => {}
        }
    }
}

async fn look(core: &Core) -> Result<Vec<Wanted>, StoreError> {
    let mut wanted = Vec::new();
    for replay in core.store().replays().list(&core.name, true, MOST).await? {
        match resolve(core, &replay).await {
            Ok(range) => wanted.push(Wanted { replay, range }),
            Err(error) => {
                tracing::warn!(service = &*core.name, replay = replay.id.as_str(), %error, "a replay waits for the log")
            }
        }
    }
    Ok(wanted)
}

/// Why a replay is not done that was asked for before the topic of `partition` was made anew.
pub(crate) fn of_before(partition: &TopicPartition) -> String {
    format!(
        "the topic `{}` was deleted and created again since this was asked for: its offsets are of the log before; ask again",
        partition.topic
    )
}

/// The range of `replay`; one that was asked for from outside of the service says times only.
pub(crate) async fn resolve(core: &Core, replay: &Replay) -> Result<Result<Range, String>, TransportError> {
    let topic = &replay.partition.topic;
    if let Some(of) = replay.log.as_deref().filter(|of| core.logs.of(topic).as_deref() != Some(of)) {
        // What is known here may be what is older.
        logs::ask(core, std::slice::from_ref(topic)).await;
        if core.logs.of(topic).is_some_and(|now| *now != *of) {
            return Ok(Err(of_before(&replay.partition)));
        }
    }
    if let (Some(from), Some(to)) = (replay.from, replay.to) {
        return Ok(Ok(Range { from, to }));
    }
    if !core.directory.topics().contains(topic) {
        return Ok(Err(format!("this service handles no topic `{topic}`")));
    }
    let offsets = core.transport.offsets(topic, replay.from_time).await?;
    let Some(of) = offsets.into_iter().find(|of| of.partition == replay.partition) else {
        return Ok(Err(format!("there is no partition {}", replay.partition)));
    };
    let to = match replay.to {
        Some(to) => Some(to),
        None => end_times(core, topic, replay.to_time).await?.get(&replay.partition).copied(),
    };
    let range = replay::range(Held { oldest: of.oldest, end: of.end }, replay.from.unwrap_or(of.at), to);
    Ok(match range {
        Ok(range) if range.span() > replay.limit => {
            Err(format!("the range spans {} records, and at most {} are replayed", range.span(), replay.limit))
        }
        range => range.map_err(|unfit| unfit.to_string()),
    })
}
