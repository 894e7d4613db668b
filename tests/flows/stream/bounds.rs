//! Too many readers, readers that are too slow or idle, and readers that are connected when the service stops.

use std::time::Duration;

use sagas::id::IdSource;
use sagas_tests::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use super::{Analytics, Instance, happenings, happenings_of_size};

const READERS: &str = "analytics_stream_readers";
const SLOW: &str = "analytics_stream_slow_readers_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beyond_the_limit_are_told_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let instance = Analytics::new(folder.path()).readers(2).start().await;
    let help = instance.answer("/metrics").await.text;
    for line in [
        format!("# TYPE {READERS} gauge"),
        format!("# TYPE {SLOW} counter"),
        format!("# HELP {READERS} "),
        format!("# HELP {SLOW} "),
    ] {
        assert!(help.lines().any(|found| found.starts_with(&line)), "no {line} in\n{help}");
    }
    assert_eq!((instance.series(READERS).await, instance.series(SLOW).await), (0.0, 0.0));

    let mut one = instance.read().await;
    one.next_of("metrics").await;
    let other = instance.read().await;
    assert_eq!(instance.series(READERS).await, 2.0);
    let refused = instance.answer("/analytics/stream").await;
    refused.is_problem(503, "UNAVAILABLE");
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    // Other routes are not affected.
    instance.answer("/analytics/metrics").await.is(200);

    drop(other);
    eventually("a place is free again", async || (instance.series(READERS).await == 1.0).then_some(())).await;
    instance.read().await.next_of("metrics").await;
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_broken_by_heartbeats() {
    let folder = tempfile::tempdir().unwrap();
    let instance = Analytics::new(folder.path()).start().await;
    let mut stream = sagas_tests::EventStream::open(instance.get("/analytics/stream?heartbeat=1")).await;
    stream.next_of("metrics").await;
    // Comments that arrived before the key figures are not counted.
    stream.comments.clear();
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(stream.comment().await, "heartbeat");
    }
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    for wrong in ["0", "301", "-1", "x"] {
        let answer = instance.answer(&format!("/analytics/stream?heartbeat={wrong}")).await;
        answer.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(answer.blamed(), ["heartbeat"], "{wrong}");
    }
    instance.answer("/analytics/stream?since=1").await.is_problem(400, "VALIDATION_ERROR");
    instance.stop().await;
}

/// Additional characters in each event, so that few events fill the buffers between a service and its reader.
const MORE: usize = 900;

/// Opens a connection that reads nothing, with small buffers.
async fn stalled(instance: &Instance, query: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(instance.address().parse().unwrap()).await.unwrap();
    stream.write_all(format!("GET /analytics/stream{query} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_disconnected_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (service, ids) = (Analytics::new(folder.path()).buffered(1_000), IdSource::random());
    let instance = service.start().await;
    let mut quick = instance.read().await;
    quick.next_of("metrics").await;
    let mut slow = stalled(&instance, "").await;
    eventually("both are there", async || (instance.series(READERS).await == 2.0).then_some(())).await;

    // More data than the buffers between them hold.
    let mut seen = 0;
    while instance.series(SLOW).await == 0.0 {
        assert!(seen < 40_000, "the slow reader is not disconnected");
        service.publish(happenings_of_size(&ids, 100, MORE).0).await;
        let told = quick.orders(400).await;
        assert_eq!(told[0].position(), seen + 1);
        seen = told[399].position();
    }
    let disconnected = async {
        let mut taken = [0; 65_536];
        // Until the end or an error: the service does not wait for data that the reader has not taken.
        while slow.read(&mut taken).await.is_ok_and(|count| count > 0) {}
    };
    timeout(Duration::from_secs(20), disconnected).await.expect("the connection is closed");
    eventually("its place is free", async || (instance.series(READERS).await == 1.0).then_some(())).await;
    assert_eq!(instance.series(SLOW).await, 1.0);

    service.publish(happenings(&ids, 10).0).await;
    assert_eq!(quick.orders(40).await[39].position(), seen + 40, "the other one goes on");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_is_disconnected_and_counted_though_little_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let service = Analytics::new(folder.path()).buffered(100_000).stalled(Duration::from_secs(2));
    let (instance, ids) = (service.start().await, IdSource::random());
    let mut quick = instance.read().await;
    quick.next_of("metrics").await;
    let slow = stalled(&instance, "").await;
    eventually("both are there", async || (instance.series(READERS).await == 2.0).then_some(())).await;
    // The network buffers fill before the channel does.
    for _ in 0..20 {
        service.publish(happenings_of_size(&ids, 100, MORE).0).await;
        quick.orders(400).await;
    }
    eventually("it is counted", async || (instance.series(SLOW).await == 1.0).then_some(())).await;
    eventually("its place is free", async || (instance.series(READERS).await == 1.0).then_some(())).await;
    service.publish(happenings(&ids, 10).0).await;
    quick.orders(40).await;
    instance.stop().await;
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_do_not_hold_up_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let instance = Analytics::new(folder.path()).start().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = instance.read().await;
        stream.next_of("metrics").await;
        streams.push(stream);
    }
    let began = Instant::now();
    instance.stop().await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    for stream in &mut streams {
        assert_eq!(stream.next().await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_does_not_hold_up_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (service, ids) = (Analytics::new(folder.path()), IdSource::random());
    let instance = service.start().await;
    let mut stream = instance.read().await;
    let first = stream.next_of("snapshot").await.id.unwrap();
    for _ in 0..20 {
        service.publish(happenings_of_size(&ids, 100, MORE).0).await;
        stream.orders(400).await;
    }
    // Nine megabytes wait for the reader, which takes nothing.
    let slow = stalled(&instance, &format!("?lastEventId={first}")).await;
    eventually("both are there", async || (instance.series(READERS).await == 2.0).then_some(())).await;
    slow.readable().await.unwrap();
    let began = Instant::now();
    instance.stop().await;
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    while stream.next().await.is_some() {}
    drop(slow);
}
