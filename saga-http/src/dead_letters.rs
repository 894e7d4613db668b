//! The HTTP routes for dead letters: list, show, retry and discard them.

mod asked;

use std::collections::HashSet;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use saga_core::{
    id::MessageId,
    runtime::{ServiceHandle, SettledLetters},
    store::{DeadLetter, DeadLetterId, DeadLetterState, LetterHead, LetterSummary, Settle},
    time::Timestamp,
};
use serde::Serialize;

use self::asked::{Bulk, Filter};
#[cfg(feature = "openapi")]
use super::schema::{Conflict, NotFound};
use super::{Json, Listed, Page, Path, Problem, Query, operators::surface, operators_only::only};

/// The paths of the routes.
pub(super) const PATHS: [&str; 6] = [
    "/dead-letters",
    "/dead-letters/retry",
    "/dead-letters/discard",
    "/dead-letters/{id}",
    "/dead-letters/{id}/retry",
    "/dead-letters/{id}/discard",
];

/// The number of dead letters that a dry run shows.
const SAMPLES: u32 = 10;

/// Returns the routes for the dead letters of a service:
///
/// | call | answer |
/// |---|---|
/// | `GET /dead-letters?page=0&size=50` | the open dead letters, newest first, without their values |
/// | `…&topic=orders&key=42&type=OrderCreated` | those of this topic, key (or `keyBase64`) and event type |
/// | `…&error=timeout&since=2026-01-31T12:00:00Z&until=…` | those with this text in their error, given up from `since` to before `until` |
/// | `…&state=discarded` | those in this state: `open`, `retried`, `replayed`, `discarded`, or `all` |
/// | `GET /dead-letters/{id}` | one dead letter, with its value |
/// | `POST /dead-letters/{id}/retry` | 202: it is delivered to its handler again, with its attempts counted from zero |
/// | `POST /dead-letters/{id}/discard` | 202: it is settled without another attempt |
/// | `POST /dead-letters/retry` {filter} | 200 `{settled, left}`: the open ones that match are retried, in offset order |
/// | `POST /dead-letters/discard` {filter} | 200 `{settled, left}`: the open ones that match are discarded |
///
/// A dead letter has `id`, `topic`, `partition`, `offset`, `key`, `type`, `handler`, `error`, `attempts` and `at`. It also has `state` if
/// it is not open, `holdsKey` if later messages of its key wait until it is settled, and `unpublished` if the log did not accept its copy.
/// If `handler` is null, a retry delivers it to every handler that takes it.
///
/// If the value is UTF-8, as JSON always is, it is in `value` as text. Otherwise `value` is null and `valueBase64` has the bytes. `key` is
/// text; bytes that are not UTF-8 are replaced. The `POST` calls on one dead letter need no body. They answer 404 if it does not exist and
/// 409 if it is already settled.
///
/// The `POST` calls on many take the parameters of the list as their body, without the page, and in addition:
///
/// - `limit`: how many are settled at most (default 1,000, maximum 10,000). `left` in the answer is the number of open ones that still
///   match.
/// - `dryRun`: nothing is settled, and the answer is `{matching, samples}`.
/// - `all`: required to settle all open dead letters with an empty filter.
///
/// Only the service's [operators](crate::Operators) can use these routes. Wherever they are mounted, they require a token or a
/// layer that authenticates.
pub fn dead_letter_routes(service: &ServiceHandle) -> Router {
    only(service, &surface(service).mounted, routes(service.clone()))
}

/// Returns the same routes without the check for operators.
pub(super) fn routes(service: ServiceHandle) -> Router {
    Router::new()
        .route("/dead-letters", get(list))
        .route("/dead-letters/retry", post(retry_all))
        .route("/dead-letters/discard", post(discard_all))
        .route("/dead-letters/{id}", get(show))
        .route("/dead-letters/{id}/retry", post(retry))
        .route("/dead-letters/{id}/discard", post(discard))
        .with_state(service)
}

/// Lists dead letters.
///
/// Lists the open ones unless `state` is given, newest first and without their values.
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
    let holding = service.holding_letters(&letters).await?;
    Ok(page.list(letters.into_iter().map(|letter| Summary::of(letter, &holding)).collect(), total))
}

/// Shows a dead letter, with its value.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/dead-letters/{id}", tag = "dead letters", operation_id = "showDeadLetter",
    params(("id" = String, Path, description = "Its `id`.")),
    responses((status = 200, description = "The dead letter, in any state.", body = Whole), NotFound),
))]
async fn show(State(service): State<ServiceHandle>, Path(id): Path<String>) -> Result<Json<Whole>, Problem> {
    let letter = service.dead_letter(&MessageId::new(id)).await?.ok_or_else(unknown)?;
    let summary = LetterSummary::of(&letter);
    let holding = service.holding_letters(std::slice::from_ref(&summary)).await?;
    Ok(Json(Whole::of(&letter, Summary::of(summary, &holding))))
}

/// Retries a dead letter.
///
/// It is delivered again to its handler, or to every handler that takes it if `handler` is null. Attempts count from zero. It waits behind
/// the parked messages of its key.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/dead-letters/{id}/retry", tag = "dead letters", operation_id = "retryDeadLetter",
    params(("id" = String, Path, description = "Its `id`.")),
    responses((status = 202, description = "The dead letter is returned to its handler."), NotFound, Conflict),
))]
async fn retry(State(service): State<ServiceHandle>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let id = MessageId::new(id);
    let settled = service.retry_dead_letter(&id).await?;
    accepted(&service, &id, settled).await
}

/// Discards a dead letter: it is settled without another attempt.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/dead-letters/{id}/discard", tag = "dead letters", operation_id = "discardDeadLetter",
    params(("id" = String, Path, description = "Its `id`.")),
    responses((status = 202, description = "The dead letter is discarded. If its key was held for it, the messages of the key continue."), NotFound, Conflict),
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

/// Retries all dead letters that match the body.
///
/// In the order of their offsets, in transactions of a few hundred. Repeat the call to continue with those that are left.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/dead-letters/retry", tag = "dead letters", operation_id = "retryDeadLetters",
    request_body(content = Bulk, description = "The filter, and the largest number of dead letters."),
    responses((status = 200, description = "The number of dead letters that were settled and are left, or with `dryRun` the number that match.", body = Answer)),
))]
async fn retry_all(State(service): State<ServiceHandle>, Json(bulk): Json<Bulk>) -> Result<Json<Answer>, Problem> {
    settle(&service, Settle::Retry, bulk).await
}

/// Discards all dead letters that match the body.
///
/// In transactions of a few hundred. Repeat the call to continue with those that are left.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/dead-letters/discard", tag = "dead letters", operation_id = "discardDeadLetters",
    request_body(content = Bulk, description = "The filter, and the largest number of dead letters."),
    responses((status = 200, description = "The number of dead letters that were settled and are left, or with `dryRun` the number that match.", body = Answer)),
))]
async fn discard_all(State(service): State<ServiceHandle>, Json(bulk): Json<Bulk>) -> Result<Json<Answer>, Problem> {
    settle(&service, Settle::Discard, bulk).await
}

async fn settle(service: &ServiceHandle, how: Settle, bulk: Bulk) -> Result<Json<Answer>, Problem> {
    let wanted = bulk.read()?;
    if wanted.dry_run {
        let (letters, matching) = service.find_dead_letters(&wanted.filter, 0, SAMPLES).await?;
        let holding = service.holding_letters(&letters).await?;
        let samples = letters.into_iter().map(|letter| Summary::of(letter, &holding)).collect();
        return Ok(Json(Answer::DryRun { matching, samples }));
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
    /// The result of the call.
    Done {
        /// The number of dead letters that were settled.
        settled: u64,
        /// The number of open dead letters that still match.
        left: u64,
    },
    /// The result of a dry run.
    DryRun {
        /// The number of dead letters that match.
        matching: u64,
        /// The newest ten of them.
        #[cfg_attr(feature = "openapi", schema(max_items = 10))]
        samples: Vec<Summary>,
    },
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DeadLetterSummary))]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// The id of the dead letter.
    #[cfg_attr(feature = "openapi", schema(example = "0190a8a0-0000-7000-8000-000000000000"))]
    id: String,
    /// The topic of the message.
    #[cfg_attr(feature = "openapi", schema(example = "orders"))]
    topic: String,
    /// The partition of the message.
    partition: i32,
    /// The offset of the message.
    offset: i64,
    /// The key as text; bytes that are not UTF-8 are replaced. Null if there is no key.
    #[cfg_attr(feature = "openapi", schema(required))]
    key: Option<String>,
    /// The event type in the record, which can be a former name of the event. If the record has none, the name of the event that the
    /// service takes it for; null if there is no such event.
    #[cfg_attr(feature = "openapi", schema(required, example = "OrderCreated"))]
    r#type: Option<String>,
    /// The handler that gave up the message, and that a retry delivers it to. Null if the message could not be delivered to any handler: a
    /// retry then delivers it to every handler that takes it.
    #[cfg_attr(feature = "openapi", schema(required, example = "reserve"))]
    handler: Option<String>,
    /// The error of the last attempt.
    error: String,
    /// The number of attempts.
    attempts: u32,
    /// The time when the message was given up.
    at: Timestamp,
    /// The state, unless the dead letter is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^(retried|replayed|discarded)$", nullable = false))]
    state: Option<&'static str>,
    /// Present, and true, if later messages of the key wait until this dead letter is settled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    holds_key: bool,
    /// The reason why the dead-letter topic has no copy, if it has none.
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
    /// The value as text; null if it is not UTF-8 or missing.
    #[cfg_attr(feature = "openapi", schema(required))]
    value: Option<String>,
    /// The value, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, format = Byte))]
    value_base64: Option<String>,
}

impl Summary {
    fn of(letter: LetterSummary, holding: &HashSet<DeadLetterId>) -> Self {
        let holds_key = holding.contains(&letter.head.id);
        let LetterHead { id, state, partition, offset, key, handler, bytes: _ } = letter.head;
        Self {
            id: id.to_string(),
            topic: partition.topic,
            partition: partition.partition,
            offset,
            key: key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()),
            r#type: letter.event_type,
            handler,
            error: letter.error,
            attempts: letter.attempts,
            at: letter.at,
            state: (state != DeadLetterState::Open).then(|| state.as_str()),
            holds_key,
            unpublished: letter.unpublished,
        }
    }
}

impl Whole {
    fn of(letter: &DeadLetter, summary: Summary) -> Self {
        let (value, value_base64) = match letter.received.record.value.as_deref() {
            None => (None, None),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => (Some(text.to_owned()), None),
                Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
            },
        };
        Self { summary, value, value_base64 }
    }
}

/// The description of the routes.
#[cfg(feature = "openapi")]
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(list, show, retry, discard, retry_all, discard_all),
    tags((name = "dead letters", description = "Messages that the service has given up. For operators."))
)]
pub(super) struct Described;

#[cfg(test)]
mod tests;
