use std::{sync::Mutex, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, Method},
    routing::{get, post},
};
use futures_util::stream;
use saga_core::time::Timestamp;
use tower::ServiceExt;
use tracing::{Dispatch, Level};

use super::*;
use crate::Json;

fn router() -> Router {
    let router = Router::new()
        .route("/orders", get(async || "orders").post(async || "placed"))
        .route("/size", post(async |body: axum::body::Bytes| body.len().to_string()))
        .route("/number", post(async |Json(number): Json<u32>| number.to_string()))
        .route("/panic", get(async || -> &'static str { panic!("a bug in a handler") }))
        .route("/id", get(async |id: CorrelationId| id.to_string()))
        .route("/busy", get(async || Problem::unavailable("too much to do")))
        .route("/stuck", get(std::future::pending::<&'static str>))
        .route("/gone", get(async || (StatusCode::NOT_FOUND, "in words of its own")));
    let limits = RequestLimits {
        body_bytes: 1_000,
        body_timeout: Duration::from_secs(5),
        bodies_bytes: 100_000,
        answer_timeout: Duration::from_secs(4),
    };
    harden_with(router, Clock::manual(Timestamp::from_millis(0)), IdSource::seeded(1), limits)
}

async fn send(request: Request) -> (u16, HeaderMap, String) {
    let response = router().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.into()).expect("text"))
}

fn request(method: Method, path: &str, body: Body) -> Request {
    Request::builder().method(method).uri(path).body(body).expect("a request")
}

fn code(body: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(body).expect(body);
    problem["code"].as_str().expect("a code").to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_answer_is_given_up() {
    let (status, headers, body) = send(request(Method::GET, "/stuck", Body::empty())).await;
    assert_eq!((status, code(&body).as_str()), (503, "UNAVAILABLE"));
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    let (status, headers, body) = send(request(Method::GET, "/nowhere", Body::empty())).await;
    assert_eq!((status, code(&body).as_str()), (404, "NOT_FOUND"));
    assert_eq!(headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let (status, headers, body) = send(request(Method::DELETE, "/orders", Body::empty())).await;
    assert_eq!((status, code(&body).as_str()), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(headers["allow"], "GET,HEAD,POST");
}

#[tokio::test]
async fn an_answer_with_words_of_its_own_is_left_alone() {
    let (status, _, body) = send(request(Method::GET, "/gone", Body::empty())).await;
    assert_eq!((status, body.as_str()), (404, "in words of its own"));
}

#[tokio::test]
async fn a_panic_is_a_problem() {
    let (status, headers, body) = send(request(Method::GET, "/panic", Body::empty())).await;
    assert_eq!((status, code(&body).as_str()), (500, "INTERNAL"));
    assert!(!body.contains("a bug"), "{body}");
    assert!(headers.contains_key("x-correlation-id"));
}

#[tokio::test]
async fn a_body_is_limited_whether_or_not_its_length_is_known() {
    for (size, expected) in [(0, 200), (1_000, 200), (1_001, 413), (100_000, 413)] {
        let known = Body::from(vec![b'x'; size]);
        let pieces: Vec<_> =
            vec![b'x'; size].chunks(300).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
        let unknown = Body::from_stream(stream::iter(pieces));
        for body in [known, unknown] {
            let (status, _, body) = send(request(Method::POST, "/size", body)).await;
            assert_eq!(status, expected, "{size}");
            assert_eq!(
                if expected == 200 { body } else { code(&body) },
                if expected == 200 { size.to_string() } else { "PAYLOAD_TOO_LARGE".to_owned() }
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let (status, headers, body) = send(request(Method::POST, "/size", body)).await;
    assert_eq!((status, code(&body).as_str()), (408, "REQUEST_TIMEOUT"));
    assert_eq!(headers["connection"], "close");
}

#[tokio::test]
async fn a_body_that_breaks_off_reaches_no_handler() {
    let pieces = [Ok(Bytes::from_static(b"12")), Err(std::io::Error::other("reset"))];
    let (status, _, body) = send(request(Method::POST, "/size", Body::from_stream(stream::iter(pieces)))).await;
    assert_eq!((status, code(&body).as_str()), (400, "BAD_REQUEST"));
}

#[tokio::test]
async fn the_correlation_id_comes_back_and_reaches_the_handler() {
    let mut taken = request(Method::GET, "/id", Body::empty());
    taken.headers_mut().insert("x-correlation-id", HeaderValue::from_static("abc-123"));
    let (_, headers, body) = send(taken).await;
    assert_eq!((headers["x-correlation-id"].to_str().expect("text"), body.as_str()), ("abc-123", "abc-123"));

    let (_, headers, body) = send(request(Method::GET, "/id", Body::empty())).await;
    assert_eq!(headers["x-correlation-id"], body.as_str());
    assert!(uuid::Uuid::parse_str(&body).is_ok(), "{body}");
}

/// The log output, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_line_has_the_correlation_id_at_every_log_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let subscriber = Dispatch::new(subscriber.with_max_level(Level::WARN).finish());
    // With a single dispatcher, tracing caches whether a line is enabled when a thread first reaches it, which may be a thread of another
    // test. With two dispatchers, tracing asks both.
    let _second = Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::dispatcher::set_default(&subscriber);

    let mut refused = request(Method::GET, "/busy", Body::empty());
    refused.headers_mut().insert("x-correlation-id", HeaderValue::from_static("abc-123"));
    assert_eq!(send(refused).await.0, 503);
    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    let line = log.lines().find(|line| line.contains("request refused")).expect(&log);
    assert!(line.contains("correlation_id=abc-123"), "{line}");
}

#[tokio::test]
async fn all_bodies_together_are_limited_while_they_are_needed() {
    let (entered, mut inside) = tokio::sync::mpsc::channel(2);
    let (open, opened) = tokio::sync::watch::channel(false);
    let held = async move |_: axum::body::Bytes| {
        let _ = entered.send(()).await;
        opened.clone().wait_for(|open| *open).await.map(|_| "done").unwrap_or("gone")
    };
    let limits = RequestLimits { bodies_bytes: 1_000, ..RequestLimits::default() };
    let clock = Clock::manual(Timestamp::from_millis(0));
    let router = harden_with(Router::new().route("/held", post(held)), clock, IdSource::seeded(1), limits);
    let send = |size: usize| router.clone().oneshot(request(Method::POST, "/held", Body::from(vec![b'x'; size])));

    let first = tokio::spawn(send(600));
    inside.recv().await.expect("the first is in its handler");
    assert_eq!(send(600).await.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);
    open.send_replace(true);
    assert_eq!(first.await.expect("no panic").expect("an answer").status(), StatusCode::OK);
    assert_eq!(send(600).await.expect("an answer").status(), StatusCode::OK);
}
