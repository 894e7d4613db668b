//! Dead letters over HTTP: look at them, give them back to their handler, give them up.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;

use super::{Json, Listed, Page, Path, Problem};
use crate::{
    id::MessageId,
    runtime::ServiceHandle,
    store::{DeadLetter, DeadLetterId},
    time::Timestamp,
};

/// The dead letters of a service:
///
/// | call | answer |
/// |---|---|
/// | `GET /dead-letters?page=0&size=50` | those that are open, newest first: `id`, `topic`, `partition`, `offset`, `key`, `type`, `error`, `attempts`, `at`, and `unpublished` where the log did not take its copy |
/// | `GET /dead-letters/{id}` | one of them, with its value |
/// | `POST /dead-letters/{id}/retry` | 202: its handler gets it again, with its attempts counted anew |
/// | `POST /dead-letters/{id}/discard` | 202: it is given up |
///
/// The value is text in `value` when it is UTF-8, as any JSON is; else `value` is null and `valueBase64` has the bytes. `key` is
/// text, with what is not UTF-8 replaced. Both `POST`s need no body, and answer 404 for the unknown and 409 for one that was
/// retried or discarded before.
pub fn dead_letter_routes(service: ServiceHandle) -> Router {
    Router::new()
        .route("/dead-letters", get(list))
        .route("/dead-letters/{id}", get(show))
        .route("/dead-letters/{id}/retry", post(retry))
        .route("/dead-letters/{id}/discard", post(discard))
        .with_state(service)
}

async fn list(State(service): State<ServiceHandle>, page: Page) -> Result<Listed<Summary>, Problem> {
    let (letters, total) = service.dead_letters(page.offset(), page.limit()).await?;
    Ok(page.list(letters.iter().map(Summary::of).collect(), total))
}

async fn show(State(service): State<ServiceHandle>, Path(id): Path<String>) -> Result<Json<Whole>, Problem> {
    let letter = service.dead_letter(&MessageId::new(id)).await?;
    letter.map(|letter| Json(Whole::of(&letter))).ok_or_else(unknown)
}

async fn retry(State(service): State<ServiceHandle>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let id = MessageId::new(id);
    let settled = service.retry_dead_letter(&id).await?;
    accepted(&service, &id, settled).await
}

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
        Some(_) => Err(Problem::conflict("this dead letter was retried or discarded before")),
        None => Err(unknown()),
    }
}

fn unknown() -> Problem {
    Problem::not_found("there is no such dead letter")
}

#[derive(Serialize)]
struct Summary {
    id: String,
    topic: String,
    partition: i32,
    offset: i64,
    key: Option<String>,
    r#type: Option<String>,
    error: String,
    attempts: u32,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    unpublished: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    summary: Summary,
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl Summary {
    fn of(letter: &DeadLetter) -> Self {
        let received = &letter.received;
        Self {
            id: letter.id.to_string(),
            topic: received.record.topic.clone(),
            partition: received.partition,
            offset: received.offset,
            key: received.record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()),
            r#type: letter.event_type.clone(),
            error: letter.error.clone(),
            attempts: letter.attempts,
            at: letter.at,
            unpublished: letter.unpublished.clone(),
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
        Self { summary: Summary::of(letter), value, value_base64 }
    }
}

#[cfg(test)]
mod tests;
