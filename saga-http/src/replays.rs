//! The HTTP routes for replays: request, list and cancel them.

use axum::{
    Extension, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use saga_core::{
    message::TopicPartition,
    runtime::{PlannedReplay, ReplayError, ReplayPoint, ReplayRequest, ServiceHandle},
    store::{Replay, ReplayId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "openapi")]
use super::schema::{Conflict, NotFound};
use super::{
    Json, Operator, Path, Problem, Query,
    operators::surface,
    operators_only::{by, only},
    sagas::Words,
};

/// The paths of the routes.
pub(super) const PATHS: [&str; 2] = ["/replays", "/replays/{id}/cancel"];

/// The maximum number of replays that are listed.
const SHOWN: u32 = 200;

/// Returns the routes for the replays of a service.
///
/// | call | answer |
/// |---|---|
/// | `POST /replays` {topic, fromOffset, reason, by, ..} | 202: the replay is requested; 200 with `dryRun`: its plan |
/// | `GET /replays?open=true` | the replays, newest first, with their ranges, their progress, and who requested them and why |
/// | `POST /replays/{id}/cancel` | 202: the replay ends where it is |
///
/// The fields of a request are `topic`, `partition`, `fromOffset` or `fromTime`, `toOffset` or `toTime`, `again`, `limit`, `reason`, `by`
/// and `dryRun`. Required are `topic`, a start of the range, `reason` and `by`. A credential that names its
/// [operator](crate::Operator) replaces `by`. Without `partition`, the replay covers all partitions. Without an end, the range of
/// a partition ends at its present end.
///
/// Without `again`, only messages that were never handled have an effect. With it, handled messages are handled again, with all their
/// effects. The field `effect` of the answer says which. 400 describes an invalid range, with its oldest offset or its number of records.
/// 409 means that the previous replay of a partition has not ended.
///
/// Only the service's [operators](crate::Operators) can use these routes. Wherever they are mounted, they require a token or a
/// layer that authenticates.
pub fn replay_routes(service: &ServiceHandle) -> Router {
    only(service, &surface(service).mounted, routes(service.clone()))
}

/// Returns the same routes without the check for operators.
pub(super) fn routes(service: ServiceHandle) -> Router {
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
    /// The partition. Default: all partitions.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 2_147_483_647))]
    partition: Option<i32>,
    /// The first offset. Either this or `fromTime` is required.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64))]
    from_offset: Option<i64>,
    /// Starts at the first record that is not older than this time.
    from_time: Option<Timestamp>,
    /// The offset after the last one. Default: the present end of the partition, unless `toTime` is given.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64))]
    to_offset: Option<i64>,
    /// Ends before the first record that is not older than this time.
    to_time: Option<Timestamp>,
    /// Whether messages that were handled are handled again, with all their effects.
    #[serde(default)]
    again: bool,
    /// The maximum number of records in the range. Default: 100,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 4_294_967_295_i64))]
    limit: Option<u32>,
    /// The reason for the replay.
    #[cfg_attr(feature = "openapi", schema(inline))]
    reason: Words<1_000>,
    /// The name of the operator. Required unless the credential of the request names the operator.
    #[cfg_attr(feature = "openapi", schema(inline, required, nullable = false))]
    by: Option<Words<100>>,
    /// Reads nothing, and returns the plan.
    #[serde(default)]
    dry_run: bool,
}

impl Wanted {
    fn request(self, operator: Option<Extension<Operator>>) -> Result<ReplayRequest, Problem> {
        let from = point("from", self.from_offset, self.from_time)?;
        let from = from.ok_or_else(|| {
            Problem::invalid_field("fromOffset", "the begin of the range is missing: write fromOffset or fromTime")
        })?;
        let to = point("to", self.to_offset, self.to_time)?;
        let (reason, by) = (self.reason.0, by(operator, self.by.map(|by| by.0))?);
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
            Err(Problem::invalid_field(format!("{name}Offset"), format!("write {name}Offset or {name}Time, not both")))
        }
        (Some(offset), None) if offset < 0 => Err(Problem::invalid_field(format!("{name}Offset"), "offsets begin at 0")),
        (offset, time) => Ok(offset.map(ReplayPoint::Offset).or(time.map(ReplayPoint::Time))),
    }
}

/// Requests a replay of a range of a topic.
///
/// Without `again`, only messages that were never handled have an effect. A partition has one replay at a time.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/replays", tag = "replays", operation_id = "askForReplay",
    request_body(content = Wanted, description = "The range, the operator, and the reason."),
    responses(
        (status = 202, description = "The replay is accepted; the service will read the ranges again.", body = Plan),
        (status = 200, description = "With `dryRun`: the ranges that would be read.", body = Plan),
        Conflict,
    ),
))]
async fn ask(
    State(service): State<ServiceHandle>,
    operator: Option<Extension<Operator>>,
    Json(wanted): Json<Wanted>,
) -> Result<Response, Problem> {
    let (dry_run, again) = (wanted.dry_run, wanted.again);
    let request = wanted.request(operator)?;
    let planned = if dry_run { service.plan_replay(&request).await? } else { service.replay(&request).await? };
    let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    let plan = Plan {
        dry_run,
        again,
        effect: match again {
            true => {
                "messages that were handled are handled again: their effects happen again, and their events are published again with new \
                 identities; steps of sagas that are done are not done again, and parked messages are handled once"
            }
            false => {
                "messages in the inbox have no effect: only messages that were never handled, or are older than inbox_retention_days, are \
                 handled"
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
    /// Only replays that have not ended.
    open: Option<bool>,
}

/// Lists the replays, newest first, at most 200.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/replays", tag = "replays", operation_id = "listReplays",
    params(Filter),
    responses((status = 200, description = "The replays, with range, progress, reason and operator.", body = [Shown])),
))]
async fn list(State(service): State<ServiceHandle>, Query(filter): Query<Filter>) -> Result<Json<Vec<Shown>>, Problem> {
    let replays = service.replays(filter.open.unwrap_or_default(), SHOWN).await?;
    Ok(Json(replays.into_iter().map(Shown::from).collect()))
}

/// Cancels a replay: it ends where it is.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/replays/{id}/cancel", tag = "replays", operation_id = "cancelReplay",
    params(("id" = String, Path, description = "Its `id`.")),
    responses((status = 202, description = "The replay ends where it is."), NotFound),
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
            other => Self::internal(other),
        }
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PlannedReplay))]
#[serde(rename_all = "camelCase")]
struct Plan {
    /// Whether this is only a plan and nothing is read.
    dry_run: bool,
    /// Whether messages that were handled are handled again.
    again: bool,
    /// The effect of the replay, in one sentence.
    effect: &'static str,
    /// The maximum number of records that are read.
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
    /// The offset after the last one.
    to: i64,
    /// The oldest offset in the log.
    oldest: i64,
    /// The maximum number of records that are read.
    records: i64,
    /// The id of the replay, unless this is a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    id: Option<String>,
}

impl From<PlannedReplay> for Part {
    fn from(planned: PlannedReplay) -> Self {
        let records = planned.records();
        let PlannedReplay { partition, from, to, oldest, id, .. } = planned;
        Self { partition: partition.partition, from, to, oldest, records, id: id.map(|id| id.to_string()) }
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Replay))]
#[serde(rename_all = "camelCase")]
struct Shown {
    /// The id of the replay.
    id: String,
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The first offset; null until it is determined from `fromTime`.
    #[cfg_attr(feature = "openapi", schema(required))]
    from: Option<i64>,
    /// The time at which the range starts, if it was requested by time.
    #[cfg_attr(feature = "openapi", schema(required))]
    from_time: Option<Timestamp>,
    /// The offset after the last one; null until it is determined.
    #[cfg_attr(feature = "openapi", schema(required))]
    to: Option<i64>,
    /// The time at which the range ends, if it was requested by time.
    #[cfg_attr(feature = "openapi", schema(required))]
    to_time: Option<Timestamp>,
    /// Whether messages that were handled are handled again.
    again: bool,
    /// The reason for the replay.
    reason: String,
    /// The name of the operator who requested it.
    by: String,
    /// The time of the request.
    at: Timestamp,
    /// The state of the replay.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(waiting|running|stopping|done|cancelled|refused)$"))]
    state: &'static str,
    /// The next offset to read, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    position: Option<i64>,
    /// The time when it ended.
    #[cfg_attr(feature = "openapi", schema(required))]
    ended_at: Option<Timestamp>,
    /// An explanation of the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    detail: Option<String>,
}

impl From<Replay> for Shown {
    fn from(replay: Replay) -> Self {
        let TopicPartition { topic, partition } = replay.partition;
        let running = matches!(replay.state, saga_core::store::ReplayState::Running | saga_core::store::ReplayState::Stopping);
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

/// The description of the routes.
#[cfg(feature = "openapi")]
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(ask, list, cancel),
    tags((name = "replays", description = "Ranges of topics that are read again. For operators."))
)]
pub(super) struct Described;

#[cfg(test)]
mod tests;
