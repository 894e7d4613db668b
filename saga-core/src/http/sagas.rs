//! Sagas over HTTP: look at the instances, and act on one that cannot go on.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

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
struct Filter {
    saga: Option<String>,
    state: Option<InstanceState>,
    open: Option<bool>,
    attention: Option<bool>,
    idle: Option<u32>,
    order: Option<Order>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Newest,
    Stalest,
}

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

async fn show(State(tracking): State<Tracking>, Path((saga, id)): Path<(String, String)>) -> Result<Json<Whole>, Problem> {
    let Some(instance) = tracking.sagas.find(&saga, &id).await? else {
        return Err(OperationError::UnknownInstance { saga, id }.into());
    };
    let history = tracking.sagas.history(&saga, &id).await?;
    Ok(Json(Whole { instance, history: history.into_iter().map(Entry::from).collect() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct By {
    by: Words<100>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    by: Words<100>,
    reason: Words<1_000>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    by: Words<100>,
    reason: Words<1_000>,
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

async fn retry(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    Json(By { by }): Json<By>,
) -> Result<StatusCode, Problem> {
    tracking.sagas.retry(&saga, &id, &by.0).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn skip(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    Json(Skip { by, reason, step }): Json<Skip>,
) -> Result<StatusCode, Problem> {
    tracking.sagas.skip(&saga, &id, &step, &by.0, &reason.0).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn compensate(
    State(tracking): State<Tracking>,
    Path((saga, id)): Target,
    Json(Reason { by, reason }): Json<Reason>,
) -> Result<StatusCode, Problem> {
    tracking.sagas.force_compensate(&saga, &id, &by.0, &reason.0).await?;
    Ok(StatusCode::ACCEPTED)
}

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
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    instance: InstanceView,
    history: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    event: String,
    message_id: Option<String>,
    causation_id: Option<String>,
    source: String,
    at: Timestamp,
    seen_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl From<HistoryEntry> for Entry {
    fn from(entry: HistoryEntry) -> Self {
        let HistoryEntry { event, message_id, causation_id, source, at, seen_at, note, .. } = entry;
        Self { event, message_id: (!message_id.is_empty()).then_some(message_id), causation_id, source, at, seen_at, note }
    }
}

#[cfg(test)]
mod tests;
