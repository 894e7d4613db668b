//! A service in whose build all features of its libraries are on, as when another crate of the program enables them.

use axum::{Router, routing::get};
use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PaymentAsked {
    pub order_id: u64,
    pub amount: f64,
    pub cents: i64,
}

#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaymentTaken {
    pub order_id: u64,
    pub amount: f64,
    pub cents: i64,
}

#[handler]
pub async fn charge(On(asked): On<PaymentAsked>, mut tx: Tx) -> Result<PaymentTaken, Failure> {
    let PaymentAsked { order_id, amount, cents } = asked;
    if cents < 0 {
        return Err(Failure::dead("less than nothing cannot be paid"));
    }
    let one: i64 = sqlx::query_scalar("SELECT 1").fetch_one(&mut tx).await?;
    Ok(PaymentTaken { order_id, amount, cents: cents * one })
}

#[axum::debug_handler]
async fn hello() -> &'static str {
    "hello"
}

pub fn payment(database: Database) -> Service {
    Service::new("payment", database)
        .handlers(handlers![charge])
        .publishes::<PaymentAsked>()
        .routes(|_| Router::<()>::new().route("/hello", get(hello)))
}
