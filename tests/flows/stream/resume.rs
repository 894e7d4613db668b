//! Readers that lose the stream and reconnect.

use futures_util::future::join_all;
use sagas::id::IdSource;
use sagas_tests::{EventStream, ServerEvent};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use super::{Analytics, happenings};

fn positions(events: &[ServerEvent]) -> Vec<i64> {
    events.iter().map(ServerEvent::position).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_is_told_exactly_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (service, ids) = (Analytics::new(folder.path()).buffered(4_000), IdSource::random());
    let instance = service.start().await;
    let mut stream = instance.read().await;
    let (records, _) = happenings(&ids, 300);
    service.publish(records).await;
    let all = stream.orders(1_200).await;
    assert_eq!(positions(&all), (1..=1_200).collect::<Vec<_>>());
    drop(stream);

    for seen in [1_usize, 2, 199, 200, 201, 600, 1_199, 1_200] {
        let id = all[seen - 1].id.clone().unwrap();
        let mut stream = instance.read_after(&id).await;
        assert_eq!(stream.orders(1_200 - seen).await, all[seen..], "after {id}");
        // From there on it receives new events.
        assert_eq!(stream.next().await.unwrap().name, "metrics");
        let asked = instance.get(&format!("/api/v1/analytics/stream?lastEventId={id}"));
        assert_eq!(EventStream::open(asked).await.orders(1_200 - seen).await, all[seen..], "after {id}");
        // A browser that reconnects requests the same URL, and sends its last event in the header.
        let asked = instance.get(&format!("/analytics/stream?lastEventId={}", all[0].id.clone().unwrap()));
        let mut stream = EventStream::open(asked.header("Last-Event-ID", &id)).await;
        assert_eq!(stream.orders(1_200 - seen).await, all[seen..], "after {id}");
    }
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_and_nothing_comes_twice_while_orders_run() {
    let folder = tempfile::tempdir().unwrap();
    let (service, ids) = (Analytics::new(folder.path()).buffered(4_000), IdSource::random());
    let instance = service.start().await;
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut stream = instance.read().await;
        assert_eq!(stream.next_of("snapshot").await.position(), 0);
        readers.push(stream);
    }
    let readers = readers.into_iter().zip(0_u64..).map(|(mut stream, seed)| {
        let instance = &instance;
        async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut all: Vec<ServerEvent> = Vec::new();
            while all.len() < 2_000 {
                let some = rng.usize(1..=300).min(2_000 - all.len());
                all.extend(stream.orders(some).await);
                let last = all.last().unwrap().id.clone().unwrap();
                stream = instance.read_after(&last).await;
            }
            positions(&all)
        }
    });
    let write = async {
        for _ in 0..50 {
            let (records, _) = happenings(&ids, 10);
            service.publish(records).await;
            tokio::task::yield_now().await;
        }
    };
    let (read, ()) = tokio::join!(join_all(readers), write);
    for positions in read {
        assert_eq!(positions, (1..=2_000).collect::<Vec<_>>());
    }
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_goes_on_where_the_old_one_was() {
    let folder = tempfile::tempdir().unwrap();
    let (service, ids) = (Analytics::new(folder.path()), IdSource::random());
    let instance = service.start().await;
    let mut stream = instance.read().await;
    service.publish(happenings(&ids, 10).0).await;
    let seen = stream.orders(25).await;
    instance.stop().await;
    // Events after the stop end with the connection.
    while stream.next().await.is_some() {}

    service.publish(happenings(&ids, 10).0).await;
    let instance = service.start().await;
    let mut stream = instance.read_after(seen.last().unwrap().id.as_ref().unwrap()).await;
    let rest = stream.orders(55).await;
    assert_eq!(positions(&[seen, rest].concat()), (1..=80).collect::<Vec<_>>());
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_no_use_is_told_and_a_snapshot_follows() {
    let folder = tempfile::tempdir().unwrap();
    let (service, ids) = (Analytics::new(folder.path()).kept(40), IdSource::random());
    let instance = service.start().await;
    let mut stream = instance.read().await;
    let mut all = Vec::new();
    // In small batches, because a change that is no longer kept cannot be sent.
    for _ in 0..10 {
        service.publish(happenings(&ids, 5).0).await;
        all.extend(stream.orders(20).await);
    }
    let last = all[199].id.clone().unwrap();
    let (name, _) = last.split_once('-').unwrap();

    let ahead = format!("{name}-201");
    for (id, reason) in [
        (all[0].id.as_deref().unwrap(), "TOO_OLD"),
        (all[100].id.as_deref().unwrap(), "TOO_OLD"),
        (ahead.as_str(), "AHEAD"),
        ("000000000000-200", "UNKNOWN"),
    ] {
        let mut stream = instance.read_after(id).await;
        let reset = stream.next().await.unwrap();
        assert_eq!((reset.name.as_str(), reset.id.as_deref()), ("reset", None), "{id}");
        assert_eq!((reset.text("reason"), reset.text("lastEventId")), (reason, id));
        assert!(reset.text("detail").contains("snapshot"), "{reset:?}");
        let snapshot = stream.next().await.unwrap();
        assert_eq!((snapshot.name.as_str(), snapshot.id.as_deref()), ("snapshot", Some(last.as_str())), "{id}");
        let orders = snapshot.data["orders"].as_array().unwrap();
        assert!((10..=50).contains(&orders.len()), "{}", orders.len());
        assert_eq!(stream.next().await.unwrap().name, "metrics", "{id}");
    }
    // A reader continues from a change that is still kept.
    let mut stream = instance.read_after(all[165].id.as_deref().unwrap()).await;
    assert_eq!(stream.orders(34).await, all[166..]);

    for malformed in ["x", "1", "-1", "000000000000-", "000000000000-1.5", "000000000000--1"] {
        for (request, field) in [
            (instance.get("/analytics/stream").header("Last-Event-ID", malformed), "Last-Event-ID"),
            (instance.get(&format!("/analytics/stream?lastEventId={malformed}")), "lastEventId"),
        ] {
            let answer = sagas_tests::Answer::to(request).await;
            answer.is_problem(400, "VALIDATION_ERROR");
            assert_eq!(answer.blamed(), [field], "{malformed}");
        }
    }
    instance.stop().await;

    let file = SqliteConnectOptions::new().filename(folder.path().join("analytics.sqlite"));
    let mut database = file.connect().await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM order_changes").fetch_one(&mut database).await.unwrap();
    assert!((40..=80).contains(&kept), "{kept} changes are kept");
    database.close().await.unwrap();
}
