//! A service with two bugs that users could write: a handler that divides by a count that can be 0, and a job that takes the
//! first element of a list that can be empty. `scripts/watch` uses it to check that panics fire the alerts about panics. Its log
//! and database are in memory.
//!
//! `bugs-under-test PORT`

#![allow(clippy::unwrap_used, missing_docs)]

use std::{net::TcpListener, sync::Arc, time::Duration};

use sagas::{Operators, prelude::*, transport::memory::Memory};
use serde::{Deserialize, Serialize};

#[event(topic = "measurements", key = sensor)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    pub sensor: String,
    pub sum: i64,
    pub count: i64,
}

#[event(topic = "averages", key = sensor)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Averaged {
    pub sensor: String,
    pub average: i64,
}

#[handler(retry(max = 20, backoff = "500ms..1s"))]
async fn average(On(Measured { sensor, sum, count }): On<Measured>) -> Result<Averaged, Failure> {
    Ok(Averaged { sensor, average: sum / count })
}

/// Publishes what a sensor has measured in a second, which is nothing.
async fn measure(service: ServiceHandle) {
    let measured: Vec<i64> = Vec::new();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut work = service.begin().await.unwrap();
        let sum = measured.iter().sum();
        work.publish(&Measured { sensor: "cellar".to_owned(), sum, count: measured.len() as i64 }).unwrap();
        work.commit().await.unwrap();
        tracing::info!(first = measured[0], "measured");
    }
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("bugs-under-test PORT");
    let sensors = Service::new("sensors", Database::memory())
        .listen(TcpListener::bind(("127.0.0.1", port)).unwrap())
        .operators(Operators::beside_the_routes().open_on_loopback())
        .handlers(handlers![average])
        .job(measure);
    assert!(App::new("bugs").services([sensors]).run(Arc::new(Memory::default())).await.unwrap(), "it did not end in time");
}
