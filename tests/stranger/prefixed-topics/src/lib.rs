//! A shop whose deployment names its topics: a prefix for its own, and another name for a topic of another team.
//!
//! Orders come from another program. The shop reserves goods; a reservation is released when the order is cancelled.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use sagas::{
    TopicNames,
    config::{ConfigError, load},
    prelude::*,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub broker: String,
    pub topics: TopicNames,
}

impl Config {
    /// Loads the file and the environment: `SHOP_TOPICS__PREFIX=stage.` takes precedence over the file.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        load(Self { broker: "embedded".into(), topics: TopicNames::default() }, file, "SHOP_", ())
    }
}

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: String,
    pub quantity: u32,
}

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    pub order_id: String,
}

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: String,
}

#[event(topic = "stock", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StockReserved {
    pub order_id: String,
    pub quantity: u32,
}

#[event(topic = "stock", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StockReleased {
    pub order_id: String,
    pub quantity: u32,
}

/// Reserve, then confirm, or give the goods back.
#[saga(key = String, starts = OrderCreated, completes = OrderConfirmed, aborts = OrderCancelled, deadline = "15m")]
pub enum PlaceOrder {
    /// Puts the goods aside.
    #[step(on = OrderCreated, emits = StockReserved, undo(on = OrderCancelled, emits = StockReleased))]
    Reserve,
    /// Decides.
    #[step(pivot, on = StockReserved, emits = OrderConfirmed)]
    Confirm,
    /// Nothing comes of it.
    #[abort(on(cancel, deadline), emits = OrderCancelled)]
    Cancel,
}

/// The work of the warehouse.
#[derive(Debug, Clone, Default)]
pub struct Done(Arc<Mutex<Vec<String>>>);

impl Done {
    fn note(&self, what: String) {
        self.0.lock().unwrap_or_else(|broken| broken.into_inner()).push(what);
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(|broken| broken.into_inner()).clone()
    }
}

/// An order of nothing can never be reserved.
#[handler(step = PlaceOrder::Reserve)]
pub async fn reserve(On(order): On<OrderCreated>, State(done): State<Done>) -> Result<StockReserved, Failure> {
    if order.quantity == 0 {
        return Err(Failure::dead("an order of nothing"));
    }
    done.note(format!("reserved {} of {}", order.quantity, order.order_id));
    Ok(StockReserved { order_id: order.order_id, quantity: order.quantity })
}

#[handler(undo = PlaceOrder::Reserve)]
pub async fn release(Undo(held): Undo<StockReserved>, State(done): State<Done>) -> StockReleased {
    done.note(format!("released {} of {}", held.quantity, held.order_id));
    StockReleased { order_id: held.order_id, quantity: held.quantity }
}

/// Creates the warehouse, a participant in a saga that another program begins and decides.
pub fn warehouse(name: &str, database: Database, done: &Done) -> Service {
    Service::new(name, database).state(done.clone()).handlers(handlers![reserve, release])
}

/// Creates the app of the warehouse, with the topics of its deployment. It has the name of the system, as in the program that
/// begins the saga.
pub fn app(service: Service, config: &Config) -> App {
    App::new("shop").service(service).topics(config.topics.clone())
}
