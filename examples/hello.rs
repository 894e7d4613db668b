//! Accepts orders over HTTP, publishes them as events, and sells each once: the program of "The first ten minutes" in the README.

use sagas::{
    axum::{Router, extract::State, http::StatusCode, routing},
    http::{Json, Path, Problem},
    prelude::*,
    store::Migration,
    transport::embedded::{Embedded, EmbeddedOptions},
};
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OrderPlaced {
    order_id: String,
    product: String,
    quantity: i64,
}

const TABLES: &[Migration] =
    &[Migration { version: 1, name: "sold", sql: "CREATE TABLE sold (product TEXT PRIMARY KEY, quantity BIGINT NOT NULL)" }];

/// One transaction contains the inbox entry of the event and the writes of the handler.
#[handler]
async fn sell(On(order): On<OrderPlaced>, mut tx: Tx) -> Result<(), Failure> {
    let sql = "INSERT INTO sold VALUES ($1, $2) ON CONFLICT (product) DO UPDATE SET quantity = sold.quantity + excluded.quantity";
    sqlx::query(sql).bind(&order.product).bind(order.quantity).execute(&mut tx).await?;
    Ok(())
}

/// Writes through `&mut *work` are committed together with the event, or not at all.
async fn place(State(service): State<ServiceHandle>, Json(order): Json<OrderPlaced>) -> Result<StatusCode, Problem> {
    let mut work = service.begin().await?;
    work.publish(&order)?;
    work.commit().await?;
    Ok(StatusCode::ACCEPTED)
}

async fn sold(State(service): State<ServiceHandle>, Path(product): Path<String>) -> Result<Json<i64>, Problem> {
    let found = sqlx::query_scalar("SELECT quantity FROM sold WHERE product = $1").bind(product);
    Ok(Json(found.fetch_optional(service.database()).await?.unwrap_or(0)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = Database::open("sqlite://data/shop.sqlite").await?;
    let log = Embedded::open("data/log", EmbeddedOptions::default()).await?;
    let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
    let routes = |service| {
        Router::new().route("/orders", routing::post(place)).route("/sold/{product}", routing::get(sold)).with_state(service)
    };
    let shop = Service::new("shop", database)
        .migrations(TABLES)
        .handlers(handlers![sell])
        .publishes::<OrderPlaced>()
        .routes(routes)
        .listen(listener);
    match App::new("hello").service(shop).run(log).await? {
        true => Ok(()),
        false => Err("work was left for the next start".into()),
    }
}
