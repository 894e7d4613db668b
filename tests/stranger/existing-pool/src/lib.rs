//! An existing booking service with axum, a `PgPool` and sqlx migrations. It now publishes events in its own transactions, and
//! handles them.

use axum::{Router, extract::State, http::StatusCode, routing::post};
use sagas::{
    Publisher,
    prelude::*,
    store::{StoreError, postgres::PostgresOptions},
};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, migrate::Migrator};

pub static MIGRATIONS: Migrator = sqlx::migrate!();

#[event(topic = "bookings", key = booking_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SeatsBooked {
    pub booking_id: String,
    pub seats: i64,
}

/// The state of the routes: the existing pool, and the new publisher.
#[derive(Clone)]
pub struct Shared {
    pub pool: PgPool,
    pub publisher: Publisher,
}

/// Returns its routes, which it serves itself.
pub fn router(shared: Shared) -> Router {
    Router::new().route("/bookings", post(book)).with_state(shared)
}

#[derive(Deserialize)]
pub struct Booking {
    pub id: String,
    pub seats: i64,
}

pub enum Problem {
    /// A booking with that id exists, or the booking has no seats.
    Conflict,
    Unavailable,
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) if error.is_unique_violation() || error.is_check_violation() => Self::Conflict,
            _ => Self::Unavailable,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}

impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        match self {
            Self::Conflict => StatusCode::CONFLICT.into_response(),
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}

async fn book(State(Shared { pool, publisher }): State<Shared>, booking: axum::Json<Booking>) -> Result<StatusCode, Problem> {
    let Booking { id, seats } = booking.0;
    let mut tx = pool.begin().await?;
    publisher.publish_in(&mut tx, &SeatsBooked { booking_id: id.clone(), seats }).await?;
    // After the event: an error from here on rolls the event back too.
    sqlx::query("INSERT INTO bookings (id, seats) VALUES ($1, $2)").bind(id).bind(seats).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(StatusCode::CREATED)
}

/// Handles the service's own event in a transaction of the framework; its tables are the same, in `public`.
#[handler]
pub async fn welcome(On(booked): On<SeatsBooked>, mut tx: Tx) -> Result<(), Failure> {
    sqlx::query("INSERT INTO guests (booking) SELECT $1 FROM generate_series(1, $2)")
        .bind(&booked.booking_id)
        .bind(booked.seats)
        .execute(tx.postgres().await?)
        .await?;
    Ok(())
}

/// Creates the service, with the framework in its own schema of the same database.
pub async fn booking(pool: &PgPool) -> Result<Service, StoreError> {
    let options = PostgresOptions::from_pool(pool).schema("booking_events")?.pool(6);
    let database = Database::open_with(sagas::store::DatabaseOptions::Postgres(options)).await?;
    Ok(Service::new("booking", database).handlers(handlers![welcome]).publishes::<SeatsBooked>())
}
