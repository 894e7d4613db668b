//! Several processes on one PostgreSQL with different clocks.
//!
//! Both processes are apps in this process, each with its own clock; one clock is five minutes ahead.

use std::{sync::Arc, time::Duration};

use ecommerce::{Config, Running, ServiceName, Storage};
use reqwest::Client;
use sagas::{id::IdSource, time::Clock, transport::memory::Memory};
use sagas_tests::{eventually, schema::drop_database};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::servers::turn;

const AHEAD: i64 = 5 * 60_000;

async fn run(server: &str, sql: String) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

async fn get(http: &Client, url: String) -> Value {
    http.get(&url).send().await.unwrap().json().await.unwrap()
}

struct World {
    folder: tempfile::TempDir,
    log: Arc<Memory>,
    server: String,
    name: String,
}

impl World {
    async fn new() -> Self {
        let server =
            std::env::var("SAGAS_TEST_POSTGRES").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".into());
        let name = format!("clocks_{}", IdSource::random().uuid(Clock::system().now()).simple());
        run(&server, format!("CREATE DATABASE {name}")).await;
        Self { folder: tempfile::tempdir().unwrap(), log: Arc::new(Memory::new()), server, name }
    }

    async fn start(&self, services: &[ServiceName], clock: Clock, deadline: Duration) -> Running {
        let (place, _) = self.server.rsplit_once('/').unwrap();
        let config =
            Config::new(self.folder.path()).storage(Storage::Postgres(format!("{place}/{}?pool=9", self.name).parse().unwrap()));
        let mut config = config.transport(self.log.clone()).clock(clock).order_deadline(deadline);
        config.services = services.to_vec();
        ecommerce::start(config).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn end(self) {
        drop_database(&self.server, &self.name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn no_order_is_cancelled_because_the_clock_of_another_instance_is_ahead() {
    let (_turn, world, http) = (turn().await, World::new().await, Client::new());
    let right = world.start(&ServiceName::ALL, Clock::wrong_by(0), Duration::from_secs(60)).await;
    let ahead = world.start(&[ServiceName::Order], Clock::wrong_by(AHEAD), Duration::from_secs(60)).await;
    let base = |running: &Running, service: &str| running.base_url(service).unwrap().to_owned();
    let (order, other, payment) = (base(&right, "order"), base(&ahead, "order"), base(&right, "payment"));

    let apart = {
        let clock = |running: &Running| running.service("order").unwrap().clock().now();
        let (one, other) = (clock(&right), clock(&ahead));
        one.since(other).max(other.since(one))
    };
    assert!(apart < Duration::from_millis(200), "the clocks of the two are {apart:?} apart");

    http.put(format!("{payment}/gateway")).json(&json!({"latencyMs": 3_000})).send().await.unwrap();
    let mut orders = Vec::new();
    for at in 0..10 {
        let base = if at % 2 == 0 { &order } else { &other };
        let items = json!([{"productId": "tea", "quantity": 1, "unitPrice": 9.9}]);
        let body = json!({"customerId": "ada", "items": items});
        let placed: Value = http.post(format!("{base}/orders")).json(&body).send().await.unwrap().json().await.unwrap();
        orders.push(placed["orderId"].as_str().unwrap_or_else(|| panic!("{placed}")).to_owned());
    }
    for id in &orders {
        eventually("the order has ended", async || {
            let status = get(&http, format!("{order}/orders/{id}")).await["status"].as_str().unwrap().to_owned();
            assert_ne!(status, "CANCELLED", "{id}");
            (status == "COMPLETED").then_some(())
        })
        .await;
    }

    let health = eventually("health shows the skew", async || {
        let health = get(&http, format!("{other}/health")).await;
        health.to_string().contains("clock_skew").then_some(health)
    })
    .await;
    assert!(health.to_string().contains("s ahead of the database's"), "{health}");
    let metrics = http.get(format!("{other}/metrics")).send().await.unwrap().text().await.unwrap();
    let line = metrics.lines().find(|line| line.starts_with("sagas_clock_skew_seconds") && line.contains("database")).unwrap();
    let skew: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((skew + 300.0).abs() < 2.0, "{line}");
    assert!(!get(&http, format!("{order}/health")).await.to_string().contains("clock_skew"));
    assert!(right.stop().await && ahead.stop().await);
    world.end().await;
}

/// The clock of a process is set while it runs: its deadlines still end in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_clock_that_is_set_moves_no_deadline() {
    let (_turn, world, http) = (turn().await, World::new().await, Client::new());
    for jump in [-3_600_000, 3_600_000] {
        let clock = Clock::wrong_by(0);
        let running = world.start(&ServiceName::ALL, clock.clone(), Duration::from_secs(6)).await;
        let (order, payment) = (running.base_url("order").unwrap(), running.base_url("payment").unwrap());
        http.put(format!("{payment}/gateway")).json(&json!({"outage": true})).send().await.unwrap();
        let items = json!([{"productId": "tea", "quantity": 1, "unitPrice": 9.9}]);
        let body = json!({"customerId": "ada", "items": items});
        let began = tokio::time::Instant::now();
        let placed: Value = http.post(format!("{order}/orders")).json(&body).send().await.unwrap().json().await.unwrap();
        let id = placed["orderId"].as_str().unwrap();
        clock.set_wrong_by(jump);
        eventually("the deadline ends", async || {
            (get(&http, format!("{order}/orders/{id}")).await["status"] == "CANCELLED").then_some(())
        })
        .await;
        let took = began.elapsed().as_secs_f64();
        assert!((5.5..20.0).contains(&took), "a jump by {jump} ms: {took} s");
        assert!(running.stop().await);
    }
    world.end().await;
}
