//! Replays over HTTP: have a range of a topic read once more, look at what is asked for, end it.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use super::{Json, Path, Problem, Query, sagas::Words};
use crate::{
    message::TopicPartition,
    runtime::{PlannedReplay, ReplayError, ReplayPoint, ReplayRequest, ServiceHandle},
    store::{Replay, ReplayId},
    time::Timestamp,
};

/// Replays that are shown.
const SHOWN: u32 = 200;

/// The replays of a service:
///
/// | call | answer |
/// |---|---|
/// | `POST /replays` {topic, partition, fromOffset or fromTime, toOffset or toTime, again, limit, reason, by, dryRun} | 202: the range is read once more; 200 with `dryRun`: what would be read |
/// | `GET /replays?open=true` | those that were asked for, newest first: their ranges, how far each is, and why and by whom |
/// | `POST /replays/{id}/cancel` | 202: it ends where it is |
///
/// `topic`, a beginning, `reason` and `by` are needed. Without `partition` all partitions are meant, without an end a range ends
/// where its partition ends now. Without `again` only what was never handled has an effect; with it, what was handled is handled
/// again, with all its effects. The answer says so in `effect`. 400 names what is wrong with a range, as its oldest offset or its
/// number of records; 409 is for a partition whose replay before has not ended.
pub fn replay_routes(service: ServiceHandle) -> Router {
    Router::new().route("/replays", get(list).post(ask)).route("/replays/{id}/cancel", post(cancel)).with_state(service)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    topic: String,
    partition: Option<i32>,
    from_offset: Option<i64>,
    from_time: Option<Timestamp>,
    to_offset: Option<i64>,
    to_time: Option<Timestamp>,
    #[serde(default)]
    again: bool,
    limit: Option<u32>,
    reason: Words<1_000>,
    by: Words<100>,
    #[serde(default)]
    dry_run: bool,
}

impl Wanted {
    fn request(self) -> Result<ReplayRequest, Problem> {
        let from = point("from", self.from_offset, self.from_time)?;
        let from =
            from.ok_or_else(|| Problem::invalid_field("fromOffset", "say where the range begins: fromOffset or fromTime"))?;
        let to = point("to", self.to_offset, self.to_time)?;
        let (reason, by) = (self.reason.0, self.by.0);
        let mut request = ReplayRequest {
            partition: self.partition,
            to,
            again: self.again,
            reason,
            by,
            ..ReplayRequest::new(self.topic, from)
        };
        if let Some(limit) = self.limit {
            request.limit = limit.into();
        }
        Ok(request)
    }
}

fn point(name: &str, offset: Option<i64>, time: Option<Timestamp>) -> Result<Option<ReplayPoint>, Problem> {
    match (offset, time) {
        (Some(_), Some(_)) => {
            Err(Problem::invalid_field(format!("{name}Offset"), format!("say {name}Offset or {name}Time, not both")))
        }
        (Some(offset), None) if offset < 0 => Err(Problem::invalid_field(format!("{name}Offset"), "offsets begin at 0")),
        (offset, time) => Ok(offset.map(ReplayPoint::Offset).or(time.map(ReplayPoint::Time))),
    }
}

async fn ask(State(service): State<ServiceHandle>, Json(wanted): Json<Wanted>) -> Result<Response, Problem> {
    let (dry_run, again) = (wanted.dry_run, wanted.again);
    let request = wanted.request()?;
    let planned = if dry_run { service.plan_replay(&request).await? } else { service.replay(&request).await? };
    let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    let plan = Plan {
        dry_run,
        again,
        effect: match again {
            true => {
                "what was handled is handled again: its effects happen again, and its events are published again with new \
                 identities; what a step of a saga has done is not done again, and what is parked is handled once"
            }
            false => {
                "what the inbox knows has no effect: only what was never handled is handled, and what is older than \
                 inbox_retention_days"
            }
        },
        records: planned.iter().map(PlannedReplay::records).sum(),
        partitions: planned.into_iter().map(Part::from).collect(),
    };
    Ok((status, Json(plan)).into_response())
}

#[derive(Deserialize)]
struct Filter {
    open: Option<bool>,
}

async fn list(State(service): State<ServiceHandle>, Query(filter): Query<Filter>) -> Result<Json<Vec<Shown>>, Problem> {
    let replays = service.replays(filter.open.unwrap_or_default(), SHOWN).await?;
    Ok(Json(replays.into_iter().map(Shown::from).collect()))
}

async fn cancel(State(service): State<ServiceHandle>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    match service.cancel_replay(&ReplayId::new(id)).await? {
        true => Ok(StatusCode::ACCEPTED),
        false => Err(Problem::not_found("there is no such replay, or it has ended")),
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::UnknownTopic { .. } => Self::invalid_field("topic", error.to_string()),
            ReplayError::UnknownPartition { .. } => Self::invalid_field("partition", error.to_string()),
            ReplayError::Unfit { .. } => Self::invalid_field("fromOffset", error.to_string()),
            ReplayError::TooMany { .. } => Self::invalid_field("limit", error.to_string()),
            ReplayError::Busy(_) => Self::conflict(error.to_string()),
            ReplayError::Log(error) => Self::unavailable(error),
            ReplayError::Store(error) => error.into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    dry_run: bool,
    again: bool,
    effect: &'static str,
    records: i64,
    partitions: Vec<Part>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    partition: i32,
    from: i64,
    to: i64,
    oldest: i64,
    records: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

impl From<PlannedReplay> for Part {
    fn from(planned: PlannedReplay) -> Self {
        let records = planned.records();
        let PlannedReplay { partition, from, to, oldest, id } = planned;
        Self { partition: partition.partition, from, to, oldest, records, id: id.map(|id| id.to_string()) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    topic: String,
    partition: i32,
    from: Option<i64>,
    from_time: Option<Timestamp>,
    to: Option<i64>,
    to_time: Option<Timestamp>,
    again: bool,
    reason: String,
    by: String,
    at: Timestamp,
    state: &'static str,
    /// The next offset to be read, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
    ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl From<Replay> for Shown {
    fn from(replay: Replay) -> Self {
        let TopicPartition { topic, partition } = replay.partition;
        let running = matches!(replay.state, crate::store::ReplayState::Running | crate::store::ReplayState::Stopping);
        Self {
            id: replay.id.to_string(),
            topic,
            partition,
            from: replay.from,
            from_time: replay.from_time,
            to: replay.to,
            to_time: replay.to_time,
            again: replay.again,
            reason: replay.reason,
            by: replay.by,
            at: replay.at,
            state: replay.state.as_str(),
            position: replay.applied.filter(|_| running),
            ended_at: replay.ended_at,
            detail: replay.detail,
        }
    }
}

#[cfg(test)]
mod tests;
