//! The macros in a package that depends on `sagas` under another name: the generated code never uses the name `sagas`.

use flows::{handler::IntoPublished, message::EventSet, prelude::*};
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id, crate = flows)]
#[derive(Serialize, Deserialize)]
struct OrderCreated {
    order_id: u64,
}

#[event(crate = flows)]
enum OrderEvent {
    Created(OrderCreated),
}

#[handler(retry(max = 3, backoff = "1s..5s"), timeout = "10s", exhausted = give_up, on_dead = "hold", crate = ::flows)]
async fn confirm(On(_): On<OrderEvent>) -> Result<(), Failure> {
    Ok(())
}

async fn give_up(On(_): On<OrderEvent>) {}

#[test]
fn a_renamed_dependency_is_named_by_the_option_crate() {
    let [confirm] = flows::handlers![confirm];
    assert_eq!(confirm.accepts()[0].name, OrderCreated::NAME);

    let mut published = Vec::new();
    OrderEvent::Created(OrderCreated { order_id: 7 }).encode(&mut published).expect("is JSON");
    assert_eq!(published[0].key, "7");
    assert_eq!(<OrderEvent as EventSet>::types()[0].topic, "orders");
}
