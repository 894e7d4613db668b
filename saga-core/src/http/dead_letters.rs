//! Dead letters over HTTP: look at them, give them back to their handler, give them up.

mod asked;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;

use self::asked::{Bulk, Filter};
#[cfg(feature = "openapi")]
use super::openapi::{Conflict, NotFound};
use super::{Json, Listed, Page, Path, Problem, Query};
use crate::{
    id::MessageId,
    runtime::{ServiceHandle, SettledLetters},
    store::{DeadLetter, DeadLetterId, DeadLetterState, LetterHead, LetterSummary, Settle},
    time::Timestamp,
};

/// Dead letters that a dry run shows.
const SAMPLES: u32 = 10;

/// The dead letters of a service:
///
/// | call | answer |
/// |---|---|
/// | `GET /dead-letters?page=0&size=50` | those that are open, newest first: `id`, `topic`, `partition`, `offset`, `key`, `type`, `error`, `attempts`, `at`; `state` where it is not open, and `unpublished` where the log did not take its copy |
/// | `…&topic=orders&key=42&type=OrderCreated` | of that topic, key (or `keyBase64`) and event type |
/// | `…&error=timeout&since=2026-01-31T12:00:00Z&until=…` | with that text in their error; given up at that time or later, and before that time |
/// | `…&state=discarded` | in that state: `open`, `retried`, `replayed`, `discarded`, or `all` |
/// | `GET /dead-letters/{id}` | one of them, with its value |
/// | `POST /dead-letters/{id}/retry` | 202: its handler gets it again, with its attempts counted anew |
/// | `POST /dead-letters/{id}/discard` | 202: it is given up |
/// | `POST /dead-letters/retry` {filter} | 200 `{settled, left}`: all that are open and that the filter wants, in the order of their offsets |
/// | `POST /dead-letters/discard` {filter} | 200 `{settled, left}`: the same, given up |
///
/// The value is text in `value` when it is UTF-8, as any JSON is; else `value` is null and `valueBase64` has the bytes. `key` is
/// text, with what is not UTF-8 replaced. The `POST`s on one need no body, and answer 404 for the unknown and 409 for one that was
/// settled before.
///
/// The body of the `POST`s on many has the parameters of the list, without the page, and: `limit`, how many are settled at most (1,000
/// unless it says, 10,000 at most): `left` says how many are then still open that the filter wants; `dryRun`, to settle none, and be
/// answered `{matching, samples}`; and `all`, without which an empty filter is refused.
///
/// Mounted singly, they are for everybody who can reach them: put them through [`operators_only`](super::operators_only).
pub fn dead_letter_routes(service: ServiceHandle) -> Router {
    Router::new()
        .route("/dead-letters", get(list))
        .route("/dead-letters/retry", post(retry_all))
        .route("/dead-letters/discard", post(discard_all))
        .route("/dead-letters/{id}", get(show))
        .route("/dead-letters/{id}/retry", post(retry))
        .route("/dead-letters/{id}/discard", post(discard))
        .with_state(service)
}

/// Dead letters.
///
/// Those that are open, unless `state` says otherwise, newest first, without their values.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/dead-letters", tag = "dead letters", operation_id = "listDeadLetters",
    params(Filter, Page),
    responses((status = 200, description = "One page of them.", body = [Summary])),
))]
async fn list(
    State(service): State<ServiceHandle>,
    Query(filter): Query<Filter>,
    page: Page,
) -> Result<Listed<Summary>, Problem> {
    let (letters, total) = service.find_dead_letters(&filter.read()?, page.offset(), page.limit()).await?;
    Ok(page.list(letters.into_iter().map(Summary::of).collect(), total))
}

/// A dead letter, with its value.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/dead-letters/{id}", tag = "dead letters", operation_id = "showDeadLetter",
    params(("id" = String, Path, description = "Its `id`.")),
    responses((status = 200, description = "The letter, whatever became of it.", body = Whole), NotFound),
))]
async fn show(State(service): State<ServiceHandle>, Path(id): Path<String>) -> Result<Json<Whole>, Problem> {
    let letter = service.dead_letter(&MessageId::new(id)).await?;
    letter.map(|letter| Json(Whole::of(&letter))).ok_or_else(unknown)
}

/// Gives a dead letter back to its handler.
///
/// Its attempts are counted anew. It waits behind whatever else of its key is parked.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/dead-letters/{id}/retry", tag = "dead letters", operation_id = "retryDeadLetter",
    params(("id" = String, Path, description = "Its `id`.")),
    responses((status = 202, description = "Its handler gets it again."), NotFound, Conflict),
))]
async fn retry(State(service): State<ServiceHandle>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let id = MessageId::new(id);
    let settled = service.retry_dead_letter(&id).await?;
    accepted(&service, &id, settled).await
}

/// Gives a dead letter up.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/dead-letters/{id}/discard", tag = "dead letters", operation_id = "discardDeadLetter",
    params(("id" = String, Path, description = "Its `id`.")),
    responses((status = 202, description = "It is given up. A key that was held for it goes on."), NotFound, Conflict),
))]
async fn discard(State(service): State<ServiceHandle>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let id = MessageId::new(id);
    let settled = service.discard_dead_letter(&id).await?;
    accepted(&service, &id, settled).await
}

async fn accepted(service: &ServiceHandle, id: &DeadLetterId, settled: bool) -> Result<StatusCode, Problem> {
    if settled {
        return Ok(StatusCode::ACCEPTED);
    }
    match service.dead_letter(id).await? {
        Some(letter) => Err(Problem::conflict(format!("this dead letter was {} before", letter.state.as_str()))),
        None => Err(unknown()),
    }
}

fn unknown() -> Problem {
    Problem::not_found("there is no such dead letter")
}

/// Gives all dead letters that the body wants back to their handlers.
///
/// In the order of their offsets, in transactions of a few hundred. The same call goes on with what is left.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/dead-letters/retry", tag = "dead letters", operation_id = "retryDeadLetters",
    request_body(content = Bulk, description = "Which, and how many at most."),
    responses((status = 200, description = "What was done, or with `dryRun` what would be.", body = Answer)),
))]
async fn retry_all(State(service): State<ServiceHandle>, Json(bulk): Json<Bulk>) -> Result<Json<Answer>, Problem> {
    settle(&service, Settle::Retry, bulk).await
}

/// Gives up all dead letters that the body wants.
///
/// In transactions of a few hundred. The same call goes on with what is left.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/dead-letters/discard", tag = "dead letters", operation_id = "discardDeadLetters",
    request_body(content = Bulk, description = "Which, and how many at most."),
    responses((status = 200, description = "What was done, or with `dryRun` what would be.", body = Answer)),
))]
async fn discard_all(State(service): State<ServiceHandle>, Json(bulk): Json<Bulk>) -> Result<Json<Answer>, Problem> {
    settle(&service, Settle::Discard, bulk).await
}

async fn settle(service: &ServiceHandle, how: Settle, bulk: Bulk) -> Result<Json<Answer>, Problem> {
    let wanted = bulk.read()?;
    if wanted.dry_run {
        let (letters, matching) = service.find_dead_letters(&wanted.filter, 0, SAMPLES).await?;
        return Ok(Json(Answer::DryRun { matching, samples: letters.into_iter().map(Summary::of).collect() }));
    }
    let SettledLetters { settled, left } = match how {
        Settle::Retry => service.retry_dead_letters(&wanted.filter, wanted.limit).await?,
        Settle::Discard => service.discard_dead_letters(&wanted.filter, wanted.limit).await?,
    };
    Ok(Json(Answer::Done { settled, left }))
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SettledDeadLetters))]
#[serde(untagged)]
enum Answer {
    /// What was done.
    Done {
        /// How many were settled.
        settled: u64,
        /// How many are still open that the body wants.
        left: u64,
    },
    /// What would be done.
    DryRun {
        /// How many the body wants.
        matching: u64,
        /// The newest ten of them.
        #[cfg_attr(feature = "openapi", schema(max_items = 10))]
        samples: Vec<Summary>,
    },
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DeadLetterSummary))]
struct Summary {
    /// What it is known by.
    #[cfg_attr(feature = "openapi", schema(example = "0190a8a0-0000-7000-8000-000000000000"))]
    id: String,
    /// The topic that it was read from.
    #[cfg_attr(feature = "openapi", schema(example = "orders"))]
    topic: String,
    /// The partition that it was read from.
    partition: i32,
    /// Its offset there.
    offset: i64,
    /// Its key as text, with what is not UTF-8 replaced; null without one.
    #[cfg_attr(feature = "openapi", schema(required))]
    key: Option<String>,
    /// The name of its event; null where it says none.
    #[cfg_attr(feature = "openapi", schema(required, example = "OrderCreated"))]
    r#type: Option<String>,
    /// Why it was given up.
    error: String,
    /// How often it was tried.
    attempts: u32,
    /// When it was given up.
    at: Timestamp,
    /// What became of it, unless it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^(retried|replayed|discarded)$", nullable = false))]
    state: Option<&'static str>,
    /// Why the topic of dead letters has no copy of it, where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    unpublished: Option<String>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DeadLetter))]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    summary: Summary,
    /// Its value as text; null where it is not UTF-8, or where there is none.
    #[cfg_attr(feature = "openapi", schema(required))]
    value: Option<String>,
    /// Its value where that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, format = Byte))]
    value_base64: Option<String>,
}

impl Summary {
    fn of(letter: LetterSummary) -> Self {
        let LetterHead { id, state, partition, offset, key, bytes: _ } = letter.head;
        Self {
            id: id.to_string(),
            topic: partition.topic,
            partition: partition.partition,
            offset,
            key: key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()),
            r#type: letter.event_type,
            error: letter.error,
            attempts: letter.attempts,
            at: letter.at,
            state: (state != DeadLetterState::Open).then(|| state.as_str()),
            unpublished: letter.unpublished,
        }
    }
}

impl Whole {
    fn of(letter: &DeadLetter) -> Self {
        let (value, value_base64) = match letter.received.record.value.as_deref() {
            None => (None, None),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => (Some(text.to_owned()), None),
                Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
            },
        };
        Self { summary: Summary::of(LetterSummary::of(letter)), value, value_base64 }
    }
}

/// The routes, as they are described.
#[cfg(feature = "openapi")]
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(list, show, retry, discard, retry_all, discard_all),
    tags((name = "dead letters", description = "Messages that were given up. Of operators."))
)]
pub(super) struct Described;

#[cfg(test)]
mod tests;
