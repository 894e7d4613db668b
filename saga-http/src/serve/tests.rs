//! Raw sockets against a server with short limits.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::{Body, Bytes},
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use saga_core::{id::IdSource, time::Clock};

use super::*;
use crate::{RequestLimits, harden_with};

const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<io::Result<bool>>,
    /// Opens the route `/held`.
    open: watch::Sender<bool>,
    /// The number of requests that wait in `/held`.
    held: watch::Receiver<usize>,
}

fn short() -> ServeLimits {
    ServeLimits {
        connections: 10,
        head_timeout: Duration::from_millis(200),
        write_timeout: Duration::from_millis(200),
        stop_timeout: Duration::from_millis(500),
    }
}

async fn start(limits: ServeLimits) -> Server {
    let (open, opened) = watch::channel(false);
    let (hold, held) = watch::channel(0);
    let hold = Arc::new(hold);
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/large", get(async || vec![b'x'; 64 << 20]))
        .route("/endless", get(endless))
        .route(
            "/closed",
            get(async |connection: Connection| {
                connection.close();
                vec![b'x'; 64 << 20]
            }),
        )
        .route("/size", post(async |body: Bytes| body.len().to_string()))
        .route(
            "/held",
            get(async move || {
                hold.send_modify(|held| *held += 1);
                opened.clone().wait_for(|open| *open).await.map(|_| "let go").unwrap_or("gone")
            }),
        );
    let request_limits = RequestLimits { body_timeout: Duration::from_millis(200), ..RequestLimits::default() };
    let router = harden_with(router, Clock::system(), IdSource::seeded(1), request_limits);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(serve(listener, router, limits, async move { stopped.await.unwrap_or_default() }));
    Server { address, stop, running, open, held }
}

/// A response with one chunk that ends only because the server stops.
async fn endless(connection: Connection) -> Body {
    let first = stream::iter([Ok::<_, std::convert::Infallible>("here")]);
    Body::from_stream(first.chain(stream::pending()).take_until(connection.stopping()))
}

async fn connect(server: &Server, send: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    stream.write_all(send).await.expect("written");
    stream
}

/// Returns all that the server sends until it closes the connection.
async fn until_closed(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    read.expect("the connection is closed in order, not reset");
    String::from_utf8(answer).expect("text")
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_request_is_answered() {
    let server = start(short()).await;
    let answer = until_closed(connect(&server, GET).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhere"), "{answer}");
}

#[tokio::test]
async fn a_stalled_head_is_given_up() {
    let server = start(short()).await;
    until_closed(connect(&server, b"GET / HTTP/1.1\r\nHost: ").await).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start(short()).await;
    let answer = until_closed(connect(&server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await).await;
    assert!(answer.ends_with("here"), "{answer}");
}

#[tokio::test]
async fn a_stalled_body_is_answered_408() {
    let server = start(short()).await;
    let request = b"POST /size HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n1234";
    let answer = until_closed(connect(&server, request).await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"REQUEST_TIMEOUT\""), "{answer}");
}

#[tokio::test]
async fn a_body_too_large_is_answered_413_however_it_is_sent() {
    let server = start(ServeLimits::default()).await;
    let body = vec![b'1'; 2 << 20];
    let mut announced =
        format!("POST /size HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    announced.extend_from_slice(&body);
    let mut chunked = b"POST /size HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(64 << 10) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for request in [announced, chunked] {
        let answer = until_closed(connect(&server, &request).await).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("\"code\":\"PAYLOAD_TOO_LARGE\""), "{answer}");
    }
}

#[tokio::test]
async fn whoever_asks_before_sending_is_told_at_once() {
    let server = start(ServeLimits::default()).await;
    let request = b"POST /size HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n\r\n";
    let answer = until_closed(connect(&server, request).await).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_head_too_large_is_refused() {
    let server = start(ServeLimits::default()).await;
    let mut request = b"GET / HTTP/1.1\r\nHost: h\r\nX-Padding: ".to_vec();
    request.resize(MAX_HEAD_BYTES, b'x');
    request.extend_from_slice(b"\r\n");
    let answer = until_closed(connect(&server, &request).await).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let server = start(ServeLimits { connections: 1, ..short() }).await;
    // Only one connection is allowed, so the second is only answered after the first is closed.
    let _stalled = connect(&server, b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = until_closed(connect(&server, GET).await).await;
    assert!(answer.ends_with("here"), "{answer}");
}

#[tokio::test]
async fn stopping_lets_a_request_finish() {
    let mut server = start(ServeLimits { stop_timeout: PATIENCE, ..short() }).await;
    let held = connect(&server, b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n").await;
    timeout(PATIENCE, server.held.wait_for(|held| *held == 1)).await.expect("it arrives").expect("the route is there");
    server.stop.send(()).expect("it runs");
    // New connections are rejected.
    timeout(PATIENCE, async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the listener is closed");
    server.open.send_replace(true);
    assert!(until_closed(held).await.ends_with("let go"));
    let finished = timeout(PATIENCE, server.running).await.expect("it ends").expect("no panic").expect("it served");
    assert!(finished);
}

#[tokio::test]
async fn an_answer_without_end_does_not_hold_up_a_stop() {
    let server = start(ServeLimits { stop_timeout: 2 * PATIENCE, ..short() }).await;
    let mut endless = connect(&server, b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut answer = String::new();
    while !answer.contains("here") {
        let mut some = [0; 1024];
        let count = timeout(PATIENCE, endless.read(&mut some)).await.expect("it begins").expect("it is open");
        assert_ne!(count, 0, "it goes on: {answer}");
        answer += std::str::from_utf8(&some[..count]).expect("text");
    }
    server.stop.send(()).expect("it runs");
    let finished = timeout(PATIENCE, server.running).await.expect("it ends").expect("no panic").expect("it served");
    assert!(finished);
    assert_eq!(until_closed(endless).await, "0\r\n\r\n", "the answer ends in order");
}

#[tokio::test]
async fn a_connection_that_is_closed_waits_for_nobody() {
    let server = start(ServeLimits { connections: 1, write_timeout: 10 * PATIENCE, ..short() }).await;
    // Only one connection is allowed, so the second is only answered after the first is closed. The first client reads nothing.
    let _stalled = connect(&server, b"GET /closed HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = until_closed(connect(&server, GET).await).await;
    assert!(answer.ends_with("here"), "{answer}");
}

#[tokio::test]
async fn stopping_waits_no_longer_than_its_limit() {
    let mut server = start(short()).await;
    let held = connect(&server, b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n").await;
    timeout(PATIENCE, server.held.wait_for(|held| *held == 1)).await.expect("it arrives").expect("the route is there");
    server.stop.send(()).expect("it runs");
    let finished = timeout(PATIENCE, server.running).await.expect("it ends").expect("no panic").expect("it served");
    assert!(!finished);
    assert_eq!(until_closed(held).await, "");
}
