//! The pump is quiet when no work is left, and not earlier.

use sagas::{prelude::*, testing::Pump};

use crate::support::*;

#[event(topic = "hops", key = order_id)]
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Hop {
    order_id: String,
    left: u32,
}

#[handler]
async fn hop(On(hop): On<Hop>, tx: Tx) -> Option<Hop> {
    drop(tx);
    hop.left.checked_sub(1).map(|left| Hop { left, ..hop })
}

#[handler]
async fn begin(On(placed): On<Placed>) -> Hop {
    Hop { order_id: placed.order_id, left: placed.number }
}

async fn rounds() {
    for database in databases().await {
        let one = Service::new("one", database.clone()).handlers(handlers![begin]);
        let two = Service::new("two", database).handlers(handlers![hop]);
        let pump = Pump::of([one, two]).start().await;
        let mut expected = 0;
        for round in 0..30 {
            let hops = round % 7;
            for key in 0..3 {
                pump.publish(&placed(&format!("o{key}"), hops)).await;
            }
            expected += 3 * (hops as usize + 1);
            pump.run_until_quiet().await;
            assert_eq!(pump.published::<Hop>().await.len(), expected, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_chain_has_ended_on_one_thread() {
    rounds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_chain_has_ended_on_many_threads() {
    rounds().await;
}
