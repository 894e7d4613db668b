//! Every client can request health as often as it likes, so requests must not load the database. Each probe of the database counts up a row.

use std::{net::TcpListener, sync::Arc, time::Duration};

use futures_util::future::join_all;
use sagas::{prelude::*, transport::memory::Memory};
use sagas_tests::schema::Schema;
use tokio::time::Instant;

use crate::support::*;

const REQUESTS: usize = 300;

async fn probes(database: &Database) -> u64 {
    let beats = sqlx::query_scalar::<sqlx::Any, i64>("SELECT beats FROM sagas_health").fetch_one(database).await.unwrap();
    u64::try_from(beats).unwrap()
}

async fn many_requests_make_few_probes_of(database: Database) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/health/ready", listener.local_addr().unwrap());
    let service = Service::new("payments", database.clone()).listen(listener);
    let app = App::new("shop").service(service).start(Arc::new(Memory::new())).await.unwrap();
    // The service has probed for its metrics. The result is used for a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (client, before, began) =
        (reqwest::Client::builder().no_proxy().build().unwrap(), probes(&database).await, Instant::now());
    let answers = join_all((0..REQUESTS).map(|_| client.get(&url).send())).await;
    let (after, took) = (probes(&database).await, began.elapsed());
    assert!(answers.into_iter().all(|answer| answer.unwrap().status().is_success()));
    let probes = after - before;
    assert!(probes >= 1 && probes <= took.as_secs() + 1, "{probes} probes in {took:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_for_health_probe_the_database_once_a_second() {
    many_requests_make_few_probes_of(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn many_requests_for_health_probe_postgresql_once_a_second() {
    let schema = Schema::new();
    many_requests_make_few_probes_of(schema.open().await).await;
}
