//! A program that consists of `App::run` only, as an executable that the tests of this package can start and stop.
//!
//! `serves` has no work; `starts` never finishes its start; `handles` never finishes a delivery.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::{future::pending, sync::Arc};

use async_trait::async_trait;
use sagas::{
    message::Record,
    port::transport::{GroupLag, Position, Subscription, TopicSpec, Transport},
    prelude::*,
    transport::{TransportError, memory::Memory},
};
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Serialize, Deserialize)]
struct OrderCreated {
    order_id: String,
}

#[handler(timeout = "1h")]
async fn never_ends(On(_): On<OrderCreated>) {
    println!("handling");
    pending().await
}

/// A log that does not answer.
struct Silent;

#[async_trait]
impl Transport for Silent {
    async fn ensure_topics(&self, _: &[TopicSpec]) -> Result<(), TransportError> {
        println!("starting");
        pending().await
    }

    async fn publish(&self, _: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        pending().await
    }

    async fn subscribe(&self, _: &str, _: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        pending().await
    }

    async fn lag(&self, _: &str, _: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        pending().await
    }

    async fn check(&self) -> Result<(), TransportError> {
        pending().await
    }

    async fn close(&self) {}
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let does = std::env::args().nth(1).unwrap_or_default();
    let service = Service::new("shop", Database::memory());
    let (service, log): (_, Arc<dyn Transport>) = match does.as_str() {
        "serves" => (service.job(serves), Arc::new(Memory::new())),
        "starts" => (service, Arc::new(Silent)),
        "handles" => (patient(service), Arc::new(Memory::new())),
        other => return Err(format!("it cannot do `{other}`").into()),
    };
    let in_time = App::new("shop").service(service).run(log).await?;
    println!("in time: {in_time}");
    Ok(())
}

async fn serves(_: ServiceHandle) {
    println!("serving");
}

/// Sets a stop timeout of an hour.
fn patient(service: Service) -> Service {
    let mut settings = sagas::Settings::default();
    settings.stop_timeout_ms = 3_600_000;
    let begin = |service: ServiceHandle| async move {
        let mut work = service.begin().await.unwrap();
        work.publish(&OrderCreated { order_id: "a".into() }).unwrap();
        work.commit().await.unwrap();
    };
    service.settings(settings).handlers(handlers![never_ends]).job(begin)
}
