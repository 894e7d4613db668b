//! Replays requested from outside, in the database of a running or a stopped service.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use sagas::{
    Handle,
    message::Record,
    port::transport::Transport,
    prelude::*,
    time::{Clock, Timestamp},
    transport::memory::Memory,
};
use sagas_tests::eventually;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    program::{is_refused, sagas, text, values},
    records::file,
};

#[event(topic = "orders", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Placed {
    id: String,
    number: i64,
}

type Taken = Arc<Mutex<Vec<i64>>>;

#[handler]
async fn take(On(placed): On<Placed>, State(taken): State<Taken>) {
    taken.lock().unwrap().push(placed.number);
}

async fn start(folder: &Path, log: &Arc<Memory>, taken: &Taken) -> Handle {
    let service = Service::new("payment", file(folder, "payment").await).state(taken.clone()).handlers(handlers![take]);
    App::new("test").service(service).start(log.clone()).await.unwrap()
}

async fn publish(log: &Memory, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let value = format!(r#"{{"id":"k{number}","number":{number}}}"#);
        let record = Record {
            topic: "orders".into(),
            key: Some(format!("k{number}").into()),
            value: Some(value.into()),
            headers: vec![sagas::message::Header::text("ce_type", "Placed")],
            timestamp: Timestamp::from_millis(number * 1_000).into(),
        };
        assert!(log.publish(vec![record]).await[0].is_ok());
    }
}

async fn handled(taken: &Taken, count: usize) -> Vec<i64> {
    eventually("all are handled", async || (taken.lock().unwrap().len() >= count).then_some(())).await;
    let mut all = taken.lock().unwrap().clone();
    all.sort_unstable();
    all
}

const ASK: [&str; 10] =
    ["replays", "ask", "--service", "payment", "--topic", "orders", "--reason", "a bug was mended", "--by", "ann"];

async fn refused(folder: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let mut command = sagas(args.iter().copied().chain(["--data"]));
    command.arg(folder);
    is_refused(command, code, parts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_reads_a_range_once_more_that_the_program_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (taken, log) = (Taken::default(), Arc::new(Memory::with_clock(Clock::system())));
    let app = start(folder, &log, &taken).await;
    publish(&log, 0..20).await;
    assert_eq!(handled(&taken, 20).await, (0..20).collect::<Vec<_>>());
    // The applied offset of each partition is in the database.
    eventually("all is noted", async || {
        let dry = values(folder, &[&ASK[..], &["--from-offset", "0", "--dry-run"]].concat(), 0).await;
        let applied: i64 = dry.iter().map(|replay| replay["applied"].as_i64().unwrap_or_default()).sum();
        assert!(dry.iter().all(|replay| replay["id"].is_null()), "{dry:?}");
        (applied == 20).then_some(())
    })
    .await;
    assert_eq!(text(folder, &["replays", "list"], 0).await.trim(), "There are no such replays.");

    // Handled messages have no effect; messages that are requested again have.
    let asked = values(folder, &[&ASK[..], &["--from-offset", "0"]].concat(), 0).await;
    assert!(
        !asked.is_empty() && asked.iter().all(|replay| replay["state"] == "waiting" && replay["id"].is_string()),
        "{asked:?}"
    );
    let done = async |count: usize| {
        eventually("the replays have ended", async || {
            let all = values(folder, &["replays", "list"], 0).await;
            (all.len() == count && all.iter().all(|replay| replay["state"] != "waiting" && replay["state"] != "running"))
                .then_some(all)
        })
        .await
    };
    done(asked.len()).await;
    assert_eq!(taken.lock().unwrap().len(), 20);
    values(folder, &[&ASK[..], &["--from-offset", "0", "--again"]].concat(), 0).await;
    let all = handled(&taken, 40).await;
    assert_eq!(all, (0..20).flat_map(|number| [number; 2]).collect::<Vec<_>>());
    done(asked.len() * 2).await;
    app.stop().await;

    // The service is stopped: the replay is done when it starts.
    let partition = asked[0]["partition"].to_string();
    let later = values(folder, &[&ASK[..], &["--from-offset", "0", "--partition", &partition, "--again"]].concat(), 0).await;
    let busy = [&ASK[..], &["--from-offset", "0", "--partition", &partition]].concat();
    refused(folder, &busy, 1, &["a replay of orders-", "has not ended", "sagas replays cancel"]).await;
    let id = later[0]["id"].as_str().unwrap().to_owned();
    let listed = text(folder, &["replays", "list", "--open"], 0).await;
    assert!(listed.contains(&id) && listed.contains("a bug was mended") && listed.contains("ann"), "{listed}");
    let ended = text(folder, &["replays", "cancel", &id, "--service", "payment"], 0).await;
    assert!(ended.contains(&id), "{ended}");
    assert_eq!(values(folder, &["replays", "list", "--limit", "1"], 0).await[0]["state"], json!("cancelled"));
    let late = [&ASK[..], &["--from-time", "1970-01-01T00:00:10Z", "--again"]].concat();
    values(folder, &late, 0).await;
    let app = start(folder, &log, &taken).await;
    let all = handled(&taken, 50).await;
    assert_eq!(all.iter().filter(|number| **number >= 10).count(), 30, "the ten of that time or later");
    app.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (taken, log) = (Taken::default(), Arc::new(Memory::with_clock(Clock::system())));
    let app = start(folder, &log, &taken).await;
    publish(&log, 0..4).await;
    handled(&taken, 4).await;
    app.stop().await;
    let with = |more: &[&'static str]| [&ASK[..], more].concat();
    refused(folder, &with(&[]), 2, &["--from-offset", "--from-time"]).await;
    refused(folder, &with(&["--from-offset", "1", "--from-time", "2026-01-01T00:00:00Z"]), 2, &["cannot be used with"]).await;
    refused(folder, &with(&["--from-offset", "-1"]), 2, &["-1"]).await;
    refused(folder, &with(&["--from-offset", "5", "--to-offset", "5"]), 2, &["is not before"]).await;
    refused(folder, &with(&["--from-offset", "0", "--partition", "77"]), 1, &["payment has read of orders the partitions "])
        .await;
    let foreign =
        ["replays", "ask", "--service", "payment", "--topic", "ordres", "--reason", "r", "--by", "b", "--from-offset", "0"];
    refused(folder, &foreign, 1, &["payment has read no topic ordres; it has read orders"]).await;
    refused(folder, &[&["replays", "ask"][..], &ASK[4..], &["--from-offset", "0"]].concat(), 2, &["name it by --service"]).await;
    refused(folder, &["replays", "cancel", "none", "--service", "payment"], 1, &["there is no replay none", "replays list"])
        .await;
    refused(folder, &["replays", "cancel", "none"], 2, &["name it by --service"]).await;
    assert_eq!(values(folder, &["replays", "list"], 0).await, [json!(null); 0], "nothing was asked for");
}
