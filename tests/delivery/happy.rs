//! A message is handled once, and the event that its handler returns is published.

use sagas::{prelude::*, testing::Pump};
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Placed {
    order_id: String,
    amount: u32,
}

#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Charged {
    order_id: String,
}

#[handler]
async fn charge(On(placed): On<Placed>) -> Charged {
    Charged { order_id: placed.order_id }
}

#[tokio::test]
async fn what_a_handler_returns_is_published() {
    let pump = Pump::of([Service::new("payments", Database::memory()).handlers(handlers![charge])]).start().await;
    for number in 0..100 {
        pump.publish(&Placed { order_id: format!("o{}", number % 10), amount: number }).await;
    }
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<Charged>().await.len(), 100);
    pump.stop().await;
}

#[tokio::test]
async fn sqlite_too() {
    let database = Database::open("sqlite::memory:").await.unwrap();
    let pump = Pump::of([Service::new("payments", database).handlers(handlers![charge])]).start().await;
    for number in 0..100 {
        pump.publish(&Placed { order_id: format!("o{}", number % 10), amount: number }).await;
    }
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<Charged>().await.len(), 100);
    pump.stop().await;
}
