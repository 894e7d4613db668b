//! The HTTP routes for sagas: list and show instances, and act on one that cannot continue.

use std::time::Duration;

use axum::{
    Extension, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use saga_core::{
    runtime::{InstanceView, OperationError, Sagas, ServiceHandle},
    saga::InstanceState,
    store::{HistoryEntry, InstanceOrder, InstanceQuery},
    time::{Clock, Timestamp},
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "openapi")]
use super::schema::{Conflict, NotFound};
use super::{
    Json, Listed, Operator, Page, Path, Problem, Query,
    operators::surface,
    operators_only::{by, only},
};

/// The paths of the routes.
pub(super) const PATHS: [&str; 6] = [
    "/sagas",
    "/sagas/{saga}/{id}",
    "/sagas/{saga}/{id}/retry",
    "/sagas/{saga}/{id}/skip",
    "/sagas/{saga}/{id}/compensate",
    "/sagas/{saga}/{id}/complete",
];

/// Returns the routes for the instances of the sagas that a service tracks:
///
/// | call | answer |
/// |---|---|
/// | `GET /sagas?page=0&size=50` | instances, the latest first |
/// | `…&saga=PlaceOrder&state=RUNNING&open=true&attention=true` | those of this saga; in this state; not ended; that need attention |
/// | `…&idle=600&order=stalest` | those without activity for 600 seconds; the longest without activity first |
/// | `GET /sagas/{saga}/{id}` | one instance, with its `history` |
/// | `POST /sagas/{saga}/{id}/retry` {by} | 202: its dead letters and timers are retried, in every service |
/// | `POST /sagas/{saga}/{id}/skip` {by, reason, step} | 202: the step, or its compensation, counts as settled by hand |
/// | `POST /sagas/{saga}/{id}/compensate` {by, reason} | 202: it is aborted, as if its deadline had passed |
/// | `POST /sagas/{saga}/{id}/complete` {by, reason} | 202: it ends with the outcome that was decided |
///
/// Each action is written to the history, with the operator and the reason. `by` is the name of the operator; a credential that names its
/// [operator](crate::Operator) replaces it. The routes answer 404 if the instance does not exist, and 409 if it is too late for
/// the action or there is nothing to do.
///
/// Only the service's [operators](crate::Operators) can use these routes. Wherever they are mounted, they require a token or a
/// layer that authenticates.
pub fn saga_routes(service: &ServiceHandle) -> Router {
    only(service, &surface(service).mounted, routes(service.clone()))
}

/// Returns the same routes without the check for operators.
pub(super) fn routes(service: ServiceHandle) -> Router {
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
    /// The saga.
    saga: Option<String>,
    /// The state.
    #[cfg_attr(feature = "openapi", param(inline))]
    state: Option<InstanceState>,
    /// Only instances that have not ended.
    open: Option<bool>,
    /// Only instances that need attention.
    attention: Option<bool>,
    /// Only instances without activity for this many seconds.
    #[cfg_attr(feature = "openapi", param(minimum = 0, maximum = 4_294_967_295_i64))]
    idle: Option<u32>,
    /// The order. Default: the latest first. `stalest`: the longest without activity first.
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

/// Lists instances of the sagas that the service tracks.
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

/// Shows an instance, with its history.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/sagas/{saga}/{id}", tag = "sagas", operation_id = "showSaga",
    params(
        ("saga" = String, Path, description = "The name of the saga.", example = "PlaceOrder"),
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
    /// The name of the operator. Required unless the credential of the request names the operator.
    #[cfg_attr(feature = "openapi", schema(inline, required, nullable = false))]
    by: Option<Words<100>>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = WhoAsksAndWhy))]
#[serde(deny_unknown_fields)]
struct Reason {
    /// The name of the operator. Required unless the credential of the request names the operator.
    #[cfg_attr(feature = "openapi", schema(inline, required, nullable = false))]
    by: Option<Words<100>>,
    /// The reason for the action.
    #[cfg_attr(feature = "openapi", schema(inline))]
    reason: Words<1_000>,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SkippedStep))]
#[serde(deny_unknown_fields)]
struct Skip {
    /// The name of the operator. Required unless the credential of the request names the operator.
    #[cfg_attr(feature = "openapi", schema(inline, required, nullable = false))]
    by: Option<Words<100>>,
    /// The reason for the action.
    #[cfg_attr(feature = "openapi", schema(inline))]
    reason: Words<1_000>,
    /// The name of the step in the saga.
    #[cfg_attr(feature = "openapi", schema(example = "ReserveInventory"))]
    step: String,
}

/// Text of 1 to `MOST` characters without control characters.
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

fn who(operator: Option<Extension<Operator>>, said: Option<Words<100>>) -> Result<String, Problem> {
    by(operator, said.map(|said| said.0))
}

/// Retries the timers and the dead letters of an instance, in every service.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/sagas/{saga}/{id}/retry", tag = "sagas", operation_id = "retrySaga",
    params(
        ("saga" = String, Path, description = "The name of the saga.", example = "PlaceOrder"),
        ("id" = String, Path, description = "The key of the instance."),
    ),
    request_body(content = By, description = "The operator."),
    responses((status = 202, description = "The timers of the instance restart, and the dead letters that block it are returned to their handlers."), NotFound, Conflict),
))]
async fn retry(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    operator: Option<Extension<Operator>>,
    Json(By { by }): Json<By>,
) -> Result<StatusCode, Problem> {
    let by = who(operator, by)?;
    tracking.sagas.retry(&saga, &id, &by).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Declares a step, or its compensation, settled by hand.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/sagas/{saga}/{id}/skip", tag = "sagas", operation_id = "skipStep",
    params(
        ("saga" = String, Path, description = "The name of the saga.", example = "PlaceOrder"),
        ("id" = String, Path, description = "The key of the instance."),
    ),
    request_body(content = Skip, description = "The operator, and the reason."),
    responses((status = 202, description = "The step is settled; the instance no longer waits for it."), NotFound, Conflict),
))]
async fn skip(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    operator: Option<Extension<Operator>>,
    Json(Skip { by, reason, step }): Json<Skip>,
) -> Result<StatusCode, Problem> {
    let by = who(operator, by)?;
    tracking.sagas.skip(&saga, &id, &step, &by, &reason.0).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Aborts the instance, as if its deadline had passed.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/sagas/{saga}/{id}/compensate", tag = "sagas", operation_id = "compensateSaga",
    params(
        ("saga" = String, Path, description = "The name of the saga.", example = "PlaceOrder"),
        ("id" = String, Path, description = "The key of the instance."),
    ),
    request_body(content = Reason, description = "The operator, and the reason."),
    responses((status = 202, description = "The instance is aborted; the steps that were done will be undone."), NotFound, Conflict),
))]
async fn compensate(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    operator: Option<Extension<Operator>>,
    Json(Reason { by, reason }): Json<Reason>,
) -> Result<StatusCode, Problem> {
    let by = who(operator, by)?;
    tracking.sagas.force_compensate(&saga, &id, &by, &reason.0).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Ends an instance by hand, with the outcome that was decided.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/sagas/{saga}/{id}/complete", tag = "sagas", operation_id = "completeSaga",
    params(
        ("saga" = String, Path, description = "The name of the saga.", example = "PlaceOrder"),
        ("id" = String, Path, description = "The key of the instance."),
    ),
    request_body(content = Reason, description = "The operator, and the reason."),
    responses((status = 202, description = "The instance has ended. What participants did is not undone."), NotFound, Conflict),
))]
async fn complete(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    operator: Option<Extension<Operator>>,
    Json(Reason { by, reason }): Json<Reason>,
) -> Result<StatusCode, Problem> {
    let by = who(operator, by)?;
    tracking.sagas.complete(&saga, &id, &by, &reason.0).await?;
    Ok(StatusCode::ACCEPTED)
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::UnknownSaga(_) | OperationError::UnknownInstance { .. } => Self::not_found(error.to_string()),
            OperationError::UnknownStep { .. } => Self::invalid_field("step", error.to_string()),
            OperationError::Conflict(reason) => Self::conflict(reason),
            OperationError::Store(error) => error.into(),
            other => Self::internal(other),
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
    /// The history, in the order in which the tracker recorded it.
    history: Vec<Entry>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SagaHistoryEntry))]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// The event, or the action on the instance.
    event: String,
    /// The id of the message; null if the entry is not an event.
    #[cfg_attr(feature = "openapi", schema(required))]
    message_id: Option<String>,
    /// The id of the message that caused the event.
    #[cfg_attr(feature = "openapi", schema(required))]
    causation_id: Option<String>,
    /// The service that published the event.
    source: String,
    /// The time when the event was published.
    at: Timestamp,
    /// The time when the tracker recorded it.
    seen_at: Timestamp,
    /// A note on the entry.
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
        super::schema::words(MOST).into()
    }
}

#[cfg(feature = "openapi")]
impl<const MOST: usize> utoipa::ToSchema for Words<MOST> {}

/// The description of the routes.
#[cfg(feature = "openapi")]
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(list, show, retry, skip, compensate, complete),
    tags((name = "sagas", description = "Instances of the sagas that the service tracks. For operators."))
)]
pub(super) struct Described;

#[cfg(test)]
mod tests;
