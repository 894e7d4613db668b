//! The route `GET /analytics/stream`.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
};
use futures_util::StreamExt;
use sagas::{
    http::{Connection, Problem, Query},
    prelude::*,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    Stream,
    id::{EventId, NotAnId},
    reader::Reader,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The header that makes nginx forward the response without buffering it.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Seconds of silence after which a reader is sent a comment: the default, and the maximum.
const HEARTBEAT: u64 = 15;
const LONGEST_HEARTBEAT: u64 = 300;
/// When a reader that found no free place can try again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Asked {
    /// The id of the last event that the reader received, if it cannot send the header `Last-Event-ID`.
    #[param(pattern = "^([0-9a-f]{12}-(0|[1-9][0-9]{0,17}))?$", example = "")]
    last_event_id: Option<String>,
    /// Seconds of silence after which a comment is sent. Default: 15.
    #[param(minimum = 1, maximum = 300)]
    heartbeat: Option<u64>,
}

/// An event of the stream.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the OpenAPI description; events are written line by line")]
struct StreamEvent {
    event: StreamEventName,
    /// What a reader sends as `Last-Event-ID` when it reconnects. Events `order` and `snapshot` have an id.
    #[schema(nullable = false, pattern = "^[0-9a-f]{12}-(0|[1-9][0-9]{0,17})$")]
    id: Option<String>,
    /// A JSON object.
    data: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "as above")]
enum StreamEventName {
    Order,
    Metrics,
    Snapshot,
    Reset,
}

/// Streams the changes of all orders and the key figures, until the reader disconnects.
///
/// The response consists of server-sent events:
///
/// - `order`, with an `id`, is a change of an order.
/// - `metrics` has the same content as `/analytics/metrics`.
/// - `snapshot`, with an `id`, has the orders that changed last. It is the first event for a reader without a last event.
/// - `reset` announces a snapshot, because the reader's last event is too old or belongs to another log.
///
/// A reader that reconnects with the id of its last event misses nothing and receives nothing twice.
#[utoipa::path(
    get, path = "/analytics/stream", tag = "analytics", operation_id = "stream",
    params(
        Asked,
        (
            "Last-Event-ID" = Option<String>, Header, pattern = "^([0-9a-f]{12}-(0|[1-9][0-9]{0,17}))?$",
            description = "The id of the last event that the reader has received. It takes precedence over the query.",
        ),
    ),
    responses((
        status = 200, description = "The events, as a stream without an end.", body = StreamEvent, content_type = "text/event-stream",
        headers(
            ("Cache-Control" = String, description = "`no-store`"),
            ("X-Accel-Buffering" = String, description = "`no`: a proxy does not buffer the stream."),
        ),
    )),
)]
pub(crate) async fn stream(
    Extension(service): Extension<ServiceHandle>,
    Extension(stream): Extension<Stream>,
    connection: Connection,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seen = last_event_id(&headers, asked.last_event_id.as_deref())?;
    let heartbeat = asked.heartbeat.unwrap_or(HEARTBEAT);
    if !(1..=LONGEST_HEARTBEAT).contains(&heartbeat) {
        return Err(Problem::invalid_field("heartbeat", format!("must be 1 to {LONGEST_HEARTBEAT} seconds")));
    }
    let place = stream.place(connection.clone()).ok_or_else(|| {
        let detail = "the limit of connected readers is reached; try again later, or read /analytics/metrics";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", detail).retry_after(ASK_AGAIN)
    })?;
    let reader = Reader::new(place, service, seen).await.map_err(Problem::unavailable)?;
    let events = reader.events().map(Ok::<_, Infallible>).take_until(connection.stopping());
    let heartbeat = KeepAlive::new().interval(Duration::from_secs(heartbeat)).text("heartbeat");
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store")), (NO_BUFFERING, HeaderValue::from_static("no"))];
    Ok((headers, Sse::new(events).keep_alive(heartbeat)).into_response())
}

/// Returns the id of the last event that the reader received, or `None` if it is missing or empty. A browser that reconnects
/// sends the id in the header and requests the same URL as the first time, so the header takes precedence over the query.
fn last_event_id(headers: &HeaderMap, query: Option<&str>) -> Result<Option<EventId>, Problem> {
    let header = headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("?"));
    let header = read_id("Last-Event-ID", header)?;
    let query = read_id("lastEventId", query)?;
    Ok(header.or(query))
}

fn read_id(name: &str, id: Option<&str>) -> Result<Option<EventId>, Problem> {
    let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(None) };
    id.parse().map(Some).map_err(|error: NotAnId| Problem::invalid_field(name, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_counts_before_the_query() {
        let header = |id: &'static [u8]| {
            let id = HeaderValue::from_bytes(id).expect("a header");
            HeaderMap::from_iter([(LAST_EVENT_ID, id)])
        };
        let seen = |headers: &HeaderMap, query| match last_event_id(headers, query) {
            Ok(id) => id.map_or_else(|| "nothing".to_owned(), |id| id.to_string()),
            Err(problem) => format!("{} {}", problem.status().as_u16(), problem.errors()[0].field),
        };
        for (headers, query, expected) in [
            (HeaderMap::new(), None, "nothing"),
            (HeaderMap::new(), Some(""), "nothing"),
            (header(b""), None, "nothing"),
            (HeaderMap::new(), Some("00000000000a-1"), "00000000000a-1"),
            (header(b"00000000000a-2"), Some("00000000000a-1"), "00000000000a-2"),
            (header(b""), Some("00000000000a-1"), "00000000000a-1"),
            (header(b"x"), Some("00000000000a-1"), "400 Last-Event-ID"),
            (header(b"00000000000a-2"), Some("x"), "400 lastEventId"),
            (header(b"\xff"), None, "400 Last-Event-ID"),
            (HeaderMap::new(), Some("-1"), "400 lastEventId"),
            (header(b"00000000000a-2"), Some("null"), "400 lastEventId"),
        ] {
            assert_eq!(seen(&headers, query), expected, "{headers:?} {query:?}");
        }
    }
}
