//! Sagas over HTTP: look at the instances, and act on one that cannot go on.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "openapi")]
use super::openapi::{Conflict, NotFound};
use super::{Json, Listed, Page, Path, Problem, Query};
use crate::{
    runtime::{InstanceView, OperationError, Sagas, ServiceHandle},
    saga::InstanceState,
    store::{HistoryEntry, InstanceOrder, InstanceQuery},
    time::{Clock, Timestamp},
};

/// The instances of the flows that a service tracks:
///
/// | call | answer |
/// |---|---|
/// | `GET /sagas?page=0&size=50` | instances, those that began last first |
/// | `…&saga=PlaceOrder&state=RUNNING&open=true&attention=true` | of that flow; in that state; that have not ended; that somebody has to look at |
/// | `…&idle=600&order=stalest` | that have not moved for 600 seconds; those that have not moved for longest first |
/// | `GET /sagas/{saga}/{id}` | one of them, with its `history` |
/// | `POST /sagas/{saga}/{id}/retry` {by} | 202: what has stopped is tried again, in whatever service it has |
/// | `POST /sagas/{saga}/{id}/skip` {by, reason, step} | 202: the step, or its undo, counts as settled by hand |
/// | `POST /sagas/{saga}/{id}/compensate` {by, reason} | 202: it is given up as if its deadline had passed |
/// | `POST /sagas/{saga}/{id}/complete` {by, reason} | 202: it ends as what it was decided to be |
///
/// What is done is written into the history, with who did it and why. Each answers 404 for the unknown, and 409 when it is too late
/// or there is nothing to do.
///
/// Mounted singly, they are for everybody who can reach them: put them through [`operators_only`](super::operators_only).
pub fn saga_routes(service: ServiceHandle) -> Router {
    Router::new()
        .route("/sagas", get(list))
        .route("/sagas/{saga}/{id}", get(show))
        .route("/sagas/{saga}/{id}/retry", post(retry))
        .route("/sagas/{saga}/{id}/skip", post(skip))
        .route("/sagas/{saga}/{id}/compensate", post(compensate))
        .route("/sagas/{saga}/{id}/complete", post(complete))
        .with_state(Tracking { clock: service.clock().clone(), sagas: service.sagas() })
}

#[derive(Clone)]
struct Tracking {
    sagas: Sagas,
    clock: Clock,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
struct Filter {
    /// Of this flow.
    saga: Option<String>,
    /// In this state.
    #[cfg_attr(feature = "openapi", param(inline))]
    state: Option<InstanceState>,
    /// With `true` those only that have not ended.
    open: Option<bool>,
    /// With `true` those only that somebody has to look at.
    attention: Option<bool>,
    /// That have not moved for so many seconds.
    #[cfg_attr(feature = "openapi", param(minimum = 0, maximum = 4_294_967_295_i64))]
    idle: Option<u32>,
    /// Those that began last first, unless it says: `stalest` has those first that have not moved for longest.
    #[cfg_attr(feature = "openapi", param(inline))]
    order: Option<Order>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
enum Order {
    Newest,
    Stalest,
}

/// Instances of the flows that the service tracks.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/sagas", tag = "sagas", operation_id = "listSagas",
    params(Filter, Page),
    responses((status = 200, description = "One page of them.", body = [InstanceView])),
))]
async fn list(
    State(tracking): State<Tracking>,
    Query(filter): Query<Filter>,
    page: Page,
) -> Result<Listed<InstanceView>, Problem> {
    let now = tracking.clock.now();
    let query = InstanceQuery {
        saga: filter.saga,
        state: filter.state,
        open: filter.open.unwrap_or_default(),
        attention: filter.attention.unwrap_or_default(),
        idle_since: filter.idle.map(|seconds| now.before(Duration::from_secs(seconds.into()))),
        order: match filter.order {
            Some(Order::Stalest) => InstanceOrder::Stalest,
            Some(Order::Newest) | None => InstanceOrder::Newest,
        },
        offset: page.offset(),
        limit: page.limit(),
    };
    let (views, total) = tracking.sagas.list(&query).await?;
    Ok(page.list(views, total))
}

/// An instance, with its history.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/sagas/{saga}/{id}", tag = "sagas", operation_id = "showSaga",
    params(
        ("saga" = String, Path, description = "The flow.", example = "PlaceOrder"),
        ("id" = String, Path, description = "The key of the instance."),
    ),
    responses((status = 200, description = "The instance.", body = Whole), NotFound),
))]
async fn show(State(tracking): State<Tracking>, Path((saga, id)): Path<(String, String)>) -> Result<Json<Whole>, Problem> {
    let Some(instance) = tracking.sagas.find(&saga, &id).await? else {
        return Err(OperationError::UnknownInstance { saga, id }.into());
    };
    let history = tracking.sagas.history(&saga, &id).await?;
    Ok(Json(Whole { instance, history: history.into_iter().map(Entry::from).collect() }))
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = WhoAsks))]
#[serde(deny_unknown_fields)]
struct By {
    /// Who wants it.
    #[cfg_attr(feature = "openapi", schema(inline))]
    by: Words<100>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = WhoAsksAndWhy))]
#[serde(deny_unknown_fields)]
struct Reason {
    /// Who wants it.
    #[cfg_attr(feature = "openapi", schema(inline))]
    by: Words<100>,
    /// Why.
    #[cfg_attr(feature = "openapi", schema(inline))]
    reason: Words<1_000>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SkippedStep))]
#[serde(deny_unknown_fields)]
struct Skip {
    /// Who wants it.
    #[cfg_attr(feature = "openapi", schema(inline))]
    by: Words<100>,
    /// Why.
    #[cfg_attr(feature = "openapi", schema(inline))]
    reason: Words<1_000>,
    /// The step, by its name in the flow.
    #[cfg_attr(feature = "openapi", schema(example = "ReserveInventory"))]
    step: String,
}

/// Text of at most so many characters, at least one, without control characters.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Words<const MOST: usize>(pub(super) String);

impl<const MOST: usize> TryFrom<String> for Words<MOST> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = (1..=MOST).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text)) } else { Err(format!("must be 1 to {MOST} characters, none of them a control character")) }
    }
}

type Target = Path<(String, String)>;

/// Tries again what has stopped, in whatever service it has.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/sagas/{saga}/{id}/retry", tag = "sagas", operation_id = "retrySaga",
    params(
        ("saga" = String, Path, description = "The flow.", example = "PlaceOrder"),
        ("id" = String, Path, description = "The key of the instance."),
    ),
    request_body(content = By, description = "Who wants it."),
    responses((status = 202, description = "Its timers run anew, and the dead letters in its way are given back to their handlers."), NotFound, Conflict),
))]
async fn retry(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    Json(By { by }): Json<By>,
) -> Result<StatusCode, Problem> {
    tracking.sagas.retry(&saga, &id, &by.0).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Declares a step, or its undo, settled by hand.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/sagas/{saga}/{id}/skip", tag = "sagas", operation_id = "skipStep",
    params(
        ("saga" = String, Path, description = "The flow.", example = "PlaceOrder"),
        ("id" = String, Path, description = "The key of the instance."),
    ),
    request_body(content = Skip, description = "Who wants it, and why."),
    responses((status = 202, description = "Nobody waits for it any more."), NotFound, Conflict),
))]
async fn skip(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    Json(Skip { by, reason, step }): Json<Skip>,
) -> Result<StatusCode, Problem> {
    tracking.sagas.skip(&saga, &id, &step, &by.0, &reason.0).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Gives the flow up, as if its deadline had passed.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/sagas/{saga}/{id}/compensate", tag = "sagas", operation_id = "compensateSaga",
    params(
        ("saga" = String, Path, description = "The flow.", example = "PlaceOrder"),
        ("id" = String, Path, description = "The key of the instance."),
    ),
    request_body(content = Reason, description = "Who wants it, and why."),
    responses((status = 202, description = "Its abort runs, and what was done is undone."), NotFound, Conflict),
))]
async fn compensate(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    Json(Reason { by, reason }): Json<Reason>,
) -> Result<StatusCode, Problem> {
    tracking.sagas.force_compensate(&saga, &id, &by.0, &reason.0).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Ends an instance by hand, as what it was decided to be.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/sagas/{saga}/{id}/complete", tag = "sagas", operation_id = "completeSaga",
    params(
        ("saga" = String, Path, description = "The flow.", example = "PlaceOrder"),
        ("id" = String, Path, description = "The key of the instance."),
    ),
    request_body(content = Reason, description = "Who wants it, and why."),
    responses((status = 202, description = "Nobody waits for it any more. What participants did is not undone."), NotFound, Conflict),
))]
async fn complete(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    Json(Reason { by, reason }): Json<Reason>,
) -> Result<StatusCode, Problem> {
    tracking.sagas.complete(&saga, &id, &by.0, &reason.0).await?;
    Ok(StatusCode::ACCEPTED)
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::UnknownSaga(_) | OperationError::UnknownInstance { .. } => Self::not_found(error.to_string()),
            OperationError::UnknownStep { .. } => Self::invalid_field("step", error.to_string()),
            OperationError::Conflict(reason) => Self::conflict(reason),
            OperationError::Store(error) => error.into(),
        }
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SagaInstanceWithHistory))]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    instance: InstanceView,
    /// What happened to it, in the order in which it was taken in.
    history: Vec<Entry>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SagaHistoryEntry))]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// The event, or what was done to the instance.
    event: String,
    /// The event's id; null where it was none.
    #[cfg_attr(feature = "openapi", schema(required))]
    message_id: Option<String>,
    /// What caused it.
    #[cfg_attr(feature = "openapi", schema(required))]
    causation_id: Option<String>,
    /// The service that published it.
    source: String,
    /// When it was published.
    at: Timestamp,
    /// When it was taken in.
    seen_at: Timestamp,
    /// What there is to say about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    note: Option<String>,
}

impl From<HistoryEntry> for Entry {
    fn from(entry: HistoryEntry) -> Self {
        let HistoryEntry { event, message_id, causation_id, source, at, seen_at, note, .. } = entry;
        Self { event, message_id: (!message_id.is_empty()).then_some(message_id), causation_id, source, at, seen_at, note }
    }
}

#[cfg(feature = "openapi")]
impl<const MOST: usize> utoipa::PartialSchema for Words<MOST> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        super::openapi::words(MOST).into()
    }
}

#[cfg(feature = "openapi")]
impl<const MOST: usize> utoipa::ToSchema for Words<MOST> {}

/// The routes, as they are described.
#[cfg(feature = "openapi")]
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(list, show, retry, skip, compensate, complete),
    tags((name = "sagas", description = "Instances of the flows that the service tracks. Of operators."))
)]
pub(super) struct Described;

#[cfg(test)]
mod tests;
