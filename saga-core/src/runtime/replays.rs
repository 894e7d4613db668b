//! Replays: an operator requests that a range of a topic is handled again.
//!
//! A request is a row in the database. The process that owns the partition executes it, now or after its next start; see `consumer/replay`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{core::Core, logs};
use crate::{
    engine::replay::{self, PartitionBounds, Range},
    message::TopicPartition,
    store::{Replay, ReplayId, ReplayState, StoreError},
    time::Timestamp,
    transport::{PartitionOffsets, TransportError},
};

/// How often the database is scanned for replays that were requested in another process.
const LOOK: Duration = Duration::from_secs(5);
/// The most open replays that are read.
const MOST: u32 = 1_000;
/// The least time between a replay and its claims. Claims up to the time of the replay are ignored.
const AFTER: Duration = Duration::from_millis(1);
/// The default limit on the number of records of a replay.
const LIMIT: i64 = 100_000;

/// The start or the end of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayPoint {
    /// An offset.
    Offset(i64),
    /// The first record with this time or a later one, by the timestamps of the log.
    Time(Timestamp),
}

/// Returns the time before which claims are ignored, for a replay that was requested at `at`.
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

/// The range of a topic that a replay handles again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    /// A topic that the service handles.
    pub topic: String,
    /// The partition, or `None` for all partitions.
    pub partition: Option<i32>,
    /// The start, inclusive.
    pub from: ReplayPoint,
    /// The end, exclusive, or `None` for the current end of the partition.
    pub to: Option<ReplayPoint>,
    /// Whether messages that were already handled are handled again. If false, only messages that were not handled have an effect.
    pub again: bool,
    /// The most records that the range may contain, in all partitions together. The default is 100,000.
    pub limit: i64,
    /// The reason, for the operators.
    pub reason: String,
    /// The person or program that requests the replay.
    pub by: String,
}

impl ReplayRequest {
    /// Creates a request for all partitions of `topic`, from `from` to their current ends.
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

/// The part of a replay that concerns one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedReplay {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset of the range.
    pub from: i64,
    /// The offset after the last one of the range.
    pub to: i64,
    /// The oldest offset in the log.
    pub oldest: i64,
    /// The id of the replay, if it was requested and not only planned.
    pub id: Option<ReplayId>,
}

impl PlannedReplay {
    /// Returns the most records that the replay reads from this partition.
    pub fn records(&self) -> i64 {
        self.to - self.from
    }
}

/// The reason why a replay is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The service does not handle the topic.
    #[error("this service handles no topic `{topic}`; it handles {topics}")]
    UnknownTopic {
        /// The requested topic.
        topic: String,
        /// The topics that the service handles.
        topics: String,
    },
    /// The topic has no such partition.
    #[error("the topic `{topic}` has no partition {partition}; it has {count}, from 0")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The requested partition.
        partition: i32,
        /// The number of partitions.
        count: usize,
    },
    /// The range is not in the log.
    #[error("{partition}: {reason}")]
    Unfit {
        /// The partition.
        partition: TopicPartition,
        /// The reason.
        reason: String,
    },
    /// The range contains too many records.
    #[error("the range spans {records} records, and at most {limit} are replayed at once: narrow it, or raise the limit")]
    TooMany {
        /// The number of records.
        records: i64,
        /// The limit.
        limit: i64,
    },
    /// A replay of the partition has not ended.
    #[error("a replay of {0} has not ended: wait for it, or cancel it")]
    Busy(TopicPartition),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] TransportError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns what `request` would read, for each partition.
pub(crate) async fn plan(core: &Core, request: &ReplayRequest) -> Result<Vec<PlannedReplay>, ReplayError> {
    let topics = core.topics();
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
        match replay::range(PartitionBounds { oldest: of.oldest, end: of.end }, from, to) {
            Ok(Range { from, to }) => planned.push(PlannedReplay { partition, from, to, oldest: of.oldest, id: None }),
            // If the request is for all partitions, some of them can be empty.
            Err(unfit @ replay::InvalidRange::Empty { .. }) => {
                empty = Some(ReplayError::Unfit { partition, reason: unfit.to_string() })
            }
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

/// Writes the requested replays to the database.
pub(crate) async fn ask(core: &Core, request: &ReplayRequest) -> Result<Vec<PlannedReplay>, ReplayError> {
    let mut planned = plan(core, request).await?;
    logs::ask(core, std::slice::from_ref(&request.topic)).await;
    let log = core.logs.of(&request.topic).map(|log| log.to_string());
    let open = core.store().replays().list(&core.name, true, MOST).await?;
    if let Some(busy) = planned.iter().find(|planned| open.iter().any(|open| open.partition == planned.partition)) {
        return Err(ReplayError::Busy(busy.partition.clone()));
    }
    let now = core.clock.now();
    // The time of each replay is later than that of the previous one and of its claims, even if the clock stands still or goes back.
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
            "a replay was requested"
        );
        planned.id = Some(id);
    }
    core.replay_wake.notify_one();
    Ok(planned)
}

/// Ends a replay early. Returns false if it had already ended or does not exist.
pub(crate) async fn stop(core: &Core, id: &ReplayId) -> Result<bool, StoreError> {
    let stopped = core.store().replays().stop(&core.name, id, core.clock.now()).await?;
    core.replay_wake.notify_one();
    Ok(stopped)
}

/// A replay that has not ended, with its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) replay: Replay,
    /// The range, or the reason why the replay cannot be executed.
    pub(crate) range: Result<Range, String>,
}

/// Scans for replays, until the task is aborted.
pub(crate) async fn watch(core: Arc<Core>) {
    loop {
        match look(&core).await {
            Ok(wanted) => {
                let changed = *core.replays() != *wanted;
                if changed {
                    core.set_replays(wanted);
                    core.parked_wake.notify_one();
                }
            }
            Err(error) => tracing::warn!(service = &*core.name, %error, "replays could not be read"),
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

/// Returns why a replay is refused that was requested before the topic of `partition` was recreated.
pub(crate) fn of_before(partition: &TopicPartition) -> String {
    format!(
        "the topic `{}` was deleted and created again since this replay was requested: its offsets are those of the former topic; request it again",
        partition.topic
    )
}

/// Returns the range of `replay`. A replay that was requested by the program `sagas` can have times instead of offsets.
pub(crate) async fn resolve(core: &Core, replay: &Replay) -> Result<Result<Range, String>, TransportError> {
    let topic = &replay.partition.topic;
    if let Some(of) = replay.log.as_deref().filter(|of| core.logs.of(topic).as_deref() != Some(of)) {
        // The identity known here may be outdated.
        logs::ask(core, std::slice::from_ref(topic)).await;
        if core.logs.of(topic).is_some_and(|now| *now != *of) {
            return Ok(Err(of_before(&replay.partition)));
        }
    }
    if let (Some(from), Some(to)) = (replay.from, replay.to) {
        return Ok(Ok(Range { from, to }));
    }
    if !core.topics().contains(topic) {
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
    let range = replay::range(PartitionBounds { oldest: of.oldest, end: of.end }, replay.from.unwrap_or(of.at), to);
    Ok(match range {
        Ok(range) if range.span() > replay.limit => {
            Err(format!("the range spans {} records, and at most {} are replayed", range.span(), replay.limit))
        }
        range => range.map_err(|unfit| unfit.to_string()),
    })
}
