//! A small axum service with its own `PgPool` and tables. It publishes events in its own transactions, and handles them.
//!
//! ```sh
//! scripts/postgres start
//! DATABASE_URL=postgres://sagas:sagas@127.0.0.1:5432/sagas cargo run --example existing-service
//! curl -i -X POST http://127.0.0.1:8090/bookings/b-1/2   # 201: two seats
//! curl -i -X POST http://127.0.0.1:8090/bookings/b-1/3   # 409: the booking exists; the new event is rolled back
//! curl http://127.0.0.1:8090/bookings/b-1                # "2 seats, 2 guests": the event was handled once
//! ```

use std::time::Duration;

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use sagas::{
    Publisher,
    prelude::*,
    store::{DatabaseOptions, postgres::PostgresOptions},
    transport::embedded::{Embedded, EmbeddedOptions},
};
use serde::{Deserialize, Serialize};
use sqlx::{Executor, PgPool};

#[event(topic = "bookings", key = booking_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SeatsBooked {
    booking_id: String,
    seats: i64,
}

/// The state of the routes: the existing pool, and the new publisher.
#[derive(Clone)]
struct Shared {
    pool: PgPool,
    publisher: Publisher,
}

async fn book(State(Shared { pool, publisher }): State<Shared>, Path((id, seats)): Path<(String, i64)>) -> StatusCode {
    let booked = async {
        let mut tx = pool.begin().await?;
        publisher.publish_in(&mut tx, &SeatsBooked { booking_id: id.clone(), seats }).await?;
        // An error after this point rolls the event back too.
        let sql = "INSERT INTO bookings (id, seats) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let inserted = sqlx::query(sql).bind(&id).bind(seats).execute(&mut *tx).await?.rows_affected();
        match inserted {
            0 => tx.rollback().await?,
            _ => tx.commit().await?,
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(inserted)
    };
    match booked.await {
        Ok(0) => StatusCode::CONFLICT,
        Ok(_) => StatusCode::CREATED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn show(State(Shared { pool, .. }): State<Shared>, Path(id): Path<String>) -> Result<String, StatusCode> {
    let sql = "SELECT seats, (SELECT count(*) FROM guests WHERE booking = id) FROM bookings WHERE id = $1";
    let found = sqlx::query_as::<_, (i64, i64)>(sql).bind(id).fetch_optional(&pool).await;
    let (seats, guests) = found.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?.ok_or(StatusCode::NOT_FOUND)?;
    Ok(format!("{seats} seats, {guests} guests\n"))
}

/// Handles the service's own event in a transaction of the framework. Another service would handle it in the same way.
#[handler]
async fn welcome(On(booked): On<SeatsBooked>, mut tx: Tx) -> Result<(), Failure> {
    sqlx::query("INSERT INTO guests (booking) SELECT $1 FROM generate_series(1, $2)")
        .bind(&booked.booking_id)
        .bind(booked.seats)
        .execute(tx.postgres().await?)
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // First, so that no signal is missed. Both end with the first signal.
    let (stop, late) = (sagas::stop_signal(), sagas::stop_signal());
    // As before: a pool, and tables from the existing migrations.
    let url = std::env::var("DATABASE_URL").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".to_owned());
    let pool = PgPool::connect(&url).await?;
    pool.execute("CREATE TABLE IF NOT EXISTS bookings (id TEXT PRIMARY KEY, seats BIGINT NOT NULL)").await?;
    pool.execute("CREATE TABLE IF NOT EXISTS guests (booking TEXT NOT NULL)").await?;

    // New: the framework in a schema of the same database, and a log. With Kafka, use `Kafka::connect_lazy(..)` as the log:
    // the program then starts also while no broker can be reached.
    let options = PostgresOptions::from_pool(&pool).schema("existing_service")?.pool(8);
    let database = Database::open_with(DatabaseOptions::Postgres(options)).await?;
    let log = Embedded::open("data/existing-service", EmbeddedOptions::default()).await?;
    let service = Service::new("booking", database).handlers(handlers![welcome]).publishes::<SeatsBooked>();
    let running = App::new("booking").service(service).allow_unreachable_log(true).start(log).await?;
    let publisher = running.service("booking").ok_or("the service runs")?.publisher();

    // As before: its own routes and server.
    let router = Router::new()
        .route("/bookings/{id}/{seats}", post(book))
        .route("/bookings/{id}", get(show))
        .with_state(Shared { pool, publisher });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8090").await?;
    // axum waits for every client, and one that never ends its request would keep the process from stopping.
    let late = async {
        late.await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(stop).into_future() => served?,
        () = late => {}
    }
    match running.stop().await {
        true => Ok(()),
        false => Err("work was left for the next start".into()),
    }
}
