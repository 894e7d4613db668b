//! The routes and the handler, on a database for one test.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use existing_pool::{MIGRATIONS, Shared, booking, router};
use sagas::{App, transport::memory::Memory};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tower::ServiceExt;

const PATIENCE: Duration = Duration::from_secs(60);

async fn post(router: &Router, body: &str) -> u16 {
    let request = Request::post("/bookings").header("content-type", "application/json").body(Body::from(body.to_owned()));
    router.clone().oneshot(request.unwrap()).await.unwrap().status().as_u16()
}

async fn guests(pool: &PgPool) -> Vec<(String, i64)> {
    sqlx::query_as("SELECT booking, count(*) FROM guests GROUP BY booking ORDER BY booking").fetch_all(pool).await.unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_booking_and_its_event_commit_together_or_not_at_all() {
    let server = std::env::var("SAGAS_TEST_POSTGRES").expect("SAGAS_TEST_POSTGRES names a server");
    let mut administrator = PgConnection::connect(&server).await.unwrap();
    let name = format!("stranger_existing_pool_{}", std::process::id());
    administrator.execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))).await.unwrap();
    let (place, _) = server.rsplit_once('/').expect("a URL that names a database");
    let pool = PgPool::connect(&format!("{place}/{name}")).await.unwrap();
    MIGRATIONS.run(&pool).await.unwrap();

    let app = App::new("booking").service(booking(&pool).await.unwrap());
    let running = app.start(Arc::new(Memory::new())).await.unwrap();
    let publisher = running.service("booking").unwrap().publisher();
    let router = router(Shared { pool: pool.clone(), publisher });

    assert_eq!(post(&router, r#"{"id": "a", "seats": 2}"#).await, 201);
    // Its statement fails after the event was published: both are rolled back.
    assert_eq!(post(&router, r#"{"id": "a", "seats": 5}"#).await, 409);
    assert_eq!(post(&router, r#"{"id": "b", "seats": 0}"#).await, 409);
    assert_eq!(post(&router, r#"{"id": "c", "seats": 3}"#).await, 201);

    let expected = [("a".to_owned(), 2), ("c".to_owned(), 3)];
    let handled = async {
        while guests(&pool).await.len() < expected.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, handled).await.expect("the events are handled");
    tokio::time::timeout(PATIENCE, running.quiet()).await.expect("nothing is left to do");
    assert_eq!(guests(&pool).await, expected, "once each");
    let bookings: Vec<String> = sqlx::query_scalar("SELECT id FROM bookings ORDER BY id").fetch_all(&pool).await.unwrap();
    assert_eq!(bookings, ["a", "c"]);

    assert!(running.stop().await);
    pool.close().await;
    administrator.execute(sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))).await.unwrap();
}
