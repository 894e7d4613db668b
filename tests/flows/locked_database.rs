//! A database, or the log, that cannot be written for a while because another connection holds its lock.

use std::time::Duration;

use futures_util::future::join_all;
use sagas_tests::{SERVICES, Shop, eventually, on_real_servers};
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::time::Instant;

/// The lock of a database.
enum Lock {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Locks a service's database, so that no other connection can write.
async fn lock(shop: &Shop, service: &str) -> Lock {
    match shop.postgres().await {
        None => lock_file(shop, &format!("{service}.sqlite")).await,
        Some(mut connection) => {
            let tables = "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables WHERE schemaname = $1";
            let tables: String = sqlx::query_scalar(tables).bind(service).fetch_one(&mut connection).await.unwrap();
            connection.execute(AssertSqlSafe(format!("BEGIN; LOCK TABLE {tables} IN EXCLUSIVE MODE"))).await.unwrap();
            Lock::Postgres(connection)
        }
    }
}

/// Locks a SQLite file.
async fn lock_file(shop: &Shop, file: &str) -> Lock {
    let mut connection = SqliteConnectOptions::new().filename(shop.folder().join(file)).connect().await.unwrap();
    connection.execute("BEGIN IMMEDIATE").await.unwrap();
    Lock::Sqlite(connection)
}

async fn unlock(lock: Lock) {
    match lock {
        Lock::Sqlite(mut connection) => {
            connection.execute("ROLLBACK").await.unwrap();
            connection.close().await.unwrap();
        }
        Lock::Postgres(mut connection) => {
            connection.execute("ROLLBACK").await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_refused_in_time_and_taken_when_it_is_back() {
    let shop = Shop::open().await;
    let lock = lock(&shop, "order").await;
    let order = json!({"customerId": "ada", "items": [{"productId": "tea", "quantity": 1, "unitPrice": 9.9}]});

    let started = Instant::now();
    let refused = shop.post("order", "/orders", &order).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    refused.is_problem(503, "UNAVAILABLE");
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    for path in ["/health", "/health/ready", "/health/live"] {
        let started = Instant::now();
        shop.get("order", path).await;
        assert!(started.elapsed() < Duration::from_secs(2), "{path}: {:?}", started.elapsed());
    }
    assert_eq!(shop.get("order", "/health/live").await.status, 200);
    let health = shop.get("order", "/health/ready").await.is(503);
    assert_eq!(health["checks"]["database"]["status"], "DOWN", "{health}");

    unlock(lock).await;
    let order_id = shop.post("order", "/orders", &order).await.is(202)["orderId"].as_str().unwrap().to_owned();
    shop.order_is(&order_id, "COMPLETED").await;
    assert_eq!(shop.count("order", "/orders").await, 1, "what was refused is not there");
    eventually("it is ready again", async || (shop.get("order", "/health/ready").await.status == 200).then_some(())).await;
    shop.close().await;
}

/// Longer than any single attempt waits: the saga stops, and nothing of it is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_goes_on_where_it_stood() {
    let shop = Shop::open().await;
    let lock = lock(&shop, "inventory").await;
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    let refused = shop.post("inventory", "/products/tea/restock", &json!({"quantity": 1})).await;
    refused.is_problem(503, "UNAVAILABLE");
    assert_eq!(shop.order(&order_id).await["status"], "CREATED");
    unlock(lock).await;
    shop.order_is(&order_id, "COMPLETED").await;
    shop.quiet().await;
    for service in SERVICES {
        assert_eq!(shop.count(service, "/dead-letters").await, 0, "{service}");
    }
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_taken_while_the_log_cannot_be_written() {
    if on_real_servers() {
        // There the log is a broker, which `tests/real` stops.
        return;
    }
    let shop = Shop::open().await;
    let lock = lock_file(&shop, "log/log.db").await;
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    eventually("the services say that the log is down, each time within two seconds", async || {
        let started = Instant::now();
        let answers = join_all(SERVICES.map(|service| shop.get(service, "/health"))).await;
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        answers.iter().all(|health| health.json()["checks"]["broker"]["status"] == "DOWN").then_some(())
    })
    .await;
    assert_eq!(shop.order(&order_id).await["status"], "CREATED");
    unlock(lock).await;
    shop.order_is(&order_id, "COMPLETED").await;
    shop.quiet().await;
    assert_eq!(shop.records_of("orders", &order_id).await.len(), 2, "created and confirmed, once");
    shop.check().await;
    shop.close().await;
}
