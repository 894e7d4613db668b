//! The saga of the tests.

use std::{collections::BTreeMap, time::Duration};

use sagas::saga::{Abort, Chart, Definition, EventRef, Participants, Step, Undo};

fn event(name: &str) -> EventRef {
    let topic = match name {
        name if name.starts_with("Inventory") => "inventory",
        name if name.starts_with("Payment") => "payments",
        _ => "orders",
    };
    EventRef { name: name.to_owned(), topic: topic.to_owned() }
}

fn events(names: &[&str]) -> Vec<EventRef> {
    names.iter().map(|name| event(name)).collect()
}

fn step(name: &str, on: &str, emits: &str) -> Step {
    let (on, emits) = (event(on), event(emits));
    Step { name: name.to_owned(), about: String::new(), on, emits, rejects: None, undo: None, pivot: false, deadline: None }
}

/// Returns the saga: `order` tracks it, `inventory` reserves, `payment` charges.
pub fn place_order() -> Chart {
    let undo = |on: &[&str], emits| Some(Undo { on: events(on), emits: event(emits) });
    let definition = Definition {
        name: "PlaceOrder".to_owned(),
        version: 1,
        about: "Reserve the goods, take the payment, confirm; or give everything back.".to_owned(),
        key: "OrderId".to_owned(),
        starts: event("OrderCreated"),
        completes: event("OrderConfirmed"),
        aborts: event("OrderCancelled"),
        deadline: Duration::from_secs(900),
        steps: vec![
            Step {
                rejects: Some(event("InventoryInsufficient")),
                undo: undo(&["PaymentFailed", "OrderCancelled"], "InventoryReleased"),
                ..step("ReserveInventory", "OrderCreated", "InventoryReserved")
            },
            Step {
                rejects: Some(event("PaymentFailed")),
                undo: undo(&["OrderCancelled"], "PaymentRefunded"),
                ..step("ProcessPayment", "InventoryReserved", "PaymentProcessed")
            },
            Step { pivot: true, ..step("ConfirmOrder", "PaymentProcessed", "OrderConfirmed") },
        ],
        abort: Abort {
            name: "CancelOrder".to_owned(),
            about: String::new(),
            on: events(&["InventoryInsufficient", "InventoryReleased"]),
            cancel: true,
            deadline: true,
            emits: event("OrderCancelled"),
        },
        former: BTreeMap::from([("InventoryReserved".to_owned(), vec!["StockReserved".to_owned()])]),
    };
    let by = |services: &[(&str, &str)]| services.iter().map(|(step, by)| ((*step).to_owned(), (*by).to_owned())).collect();
    let undone_by: BTreeMap<_, _> = by(&[("ReserveInventory", "inventory"), ("ProcessPayment", "payment")]);
    let mut done_by: BTreeMap<_, _> = by(&[("ConfirmOrder", "order"), ("CancelOrder", "order")]);
    done_by.extend(undone_by.clone());
    Chart { definition, participants: Participants { tracker: Some("order".to_owned()), done_by, undone_by } }
}
