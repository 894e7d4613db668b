//! Replays over HTTP: have a range of a topic read once more, look at what is asked for, end it.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "openapi")]
use super::openapi::{Conflict, NotFound};
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
///
/// Mounted singly, they are for everybody who can reach them: put them through [`operators_only`](super::operators_only).
pub fn replay_routes(service: ServiceHandle) -> Router {
    Router::new().route("/replays", get(list).post(ask)).route("/replays/{id}/cancel", post(cancel)).with_state(service)
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = WantedReplay, example = json!({
    "topic": "orders", "fromOffset": 0, "reason": "a bug is mended", "by": "ada", "dryRun": true
})))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    /// A topic that the service handles.
    topic: String,
    /// The partition; all of them, unless it says.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 2_147_483_647))]
    partition: Option<i32>,
    /// The first offset. Either this or `fromTime` is needed.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64))]
    from_offset: Option<i64>,
    /// From the first record that is as young.
    from_time: Option<Timestamp>,
    /// The offset after the last: where the partition ends now, unless this or `toTime` says.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64))]
    to_offset: Option<i64>,
    /// Up to the first record that is as young.
    to_time: Option<Timestamp>,
    /// Handles again what was handled, with all its effects.
    #[serde(default)]
    again: bool,
    /// The most records that it may span: 100,000 unless it says.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 4_294_967_295_i64))]
    limit: Option<u32>,
    /// Why.
    #[cfg_attr(feature = "openapi", schema(inline))]
    reason: Words<1_000>,
    /// Who wants it.
    #[cfg_attr(feature = "openapi", schema(inline))]
    by: Words<100>,
    /// Reads nothing, and says what would be read.
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

/// Has a range of a topic read once more.
///
/// Without `again` only what was never handled has an effect. A partition has one replay at a time.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/replays", tag = "replays", operation_id = "askForReplay",
    request_body(content = Wanted, description = "The range, who wants it, and why."),
    responses(
        (status = 202, description = "It is read once more.", body = Plan),
        (status = 200, description = "With `dryRun`: what would be read.", body = Plan),
        Conflict,
    ),
))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
struct Filter {
    /// With `true` those only that have not ended.
    open: Option<bool>,
}

/// Replays that were asked for, newest first, at most 200.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/replays", tag = "replays", operation_id = "listReplays",
    params(Filter),
    responses((status = 200, description = "Their ranges, how far each is, and why and by whom.", body = [Shown])),
))]
async fn list(State(service): State<ServiceHandle>, Query(filter): Query<Filter>) -> Result<Json<Vec<Shown>>, Problem> {
    let replays = service.replays(filter.open.unwrap_or_default(), SHOWN).await?;
    Ok(Json(replays.into_iter().map(Shown::from).collect()))
}

/// Ends a replay where it is.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/replays/{id}/cancel", tag = "replays", operation_id = "cancelReplay",
    params(("id" = String, Path, description = "Its `id`.")),
    responses((status = 202, description = "It ends."), NotFound),
))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PlannedReplay))]
#[serde(rename_all = "camelCase")]
struct Plan {
    /// Whether nothing is read.
    dry_run: bool,
    /// Whether what was handled is handled again.
    again: bool,
    /// What comes of it, in a sentence.
    effect: &'static str,
    /// The most records that are read.
    records: i64,
    /// The range in each partition.
    partitions: Vec<Part>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PlannedPartition))]
#[serde(rename_all = "camelCase")]
struct Part {
    /// The partition.
    partition: i32,
    /// The first offset.
    from: i64,
    /// The offset after the last.
    to: i64,
    /// The oldest offset that is in the log.
    oldest: i64,
    /// The most records that are read.
    records: i64,
    /// What the replay is known by, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Replay))]
#[serde(rename_all = "camelCase")]
struct Shown {
    /// What it is known by.
    id: String,
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The first offset; null while nobody has looked it up.
    #[cfg_attr(feature = "openapi", schema(required))]
    from: Option<i64>,
    /// Where it begins, if that was said by a time.
    #[cfg_attr(feature = "openapi", schema(required))]
    from_time: Option<Timestamp>,
    /// The offset after the last; null while nobody has looked it up.
    #[cfg_attr(feature = "openapi", schema(required))]
    to: Option<i64>,
    /// Where it ends, if that was said by a time.
    #[cfg_attr(feature = "openapi", schema(required))]
    to_time: Option<Timestamp>,
    /// Whether what was handled is handled again.
    again: bool,
    /// Why.
    reason: String,
    /// Who wanted it.
    by: String,
    /// When it was asked for.
    at: Timestamp,
    /// How far it is.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(waiting|running|stopping|done|cancelled|refused)$"))]
    state: &'static str,
    /// The next offset to be read, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    position: Option<i64>,
    /// When it ended.
    #[cfg_attr(feature = "openapi", schema(required))]
    ended_at: Option<Timestamp>,
    /// What there is to say about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
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

/// The routes, as they are described.
#[cfg(feature = "openapi")]
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(ask, list, cancel),
    tags((name = "replays", description = "Ranges of topics that are read once more. Of operators."))
)]
pub(super) struct Described;

#[cfg(test)]
mod tests;
