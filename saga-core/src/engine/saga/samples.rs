//! Sagas for tests.

use std::{collections::BTreeMap, time::Duration};

use crate::saga::{Abort, Definition, EventRef, Step, Undo};

fn event(name: &str) -> EventRef {
    EventRef { name: name.to_owned(), topic: name.to_lowercase() }
}

fn step(name: &str, on: &str, emits: &str, rejects: &str, undo: Option<(&[&str], &str)>) -> Step {
    Step {
        name: name.to_owned(),
        about: String::new(),
        on: event(on),
        emits: event(emits),
        rejects: (!rejects.is_empty()).then(|| event(rejects)),
        undo: undo.map(|(on, emits)| Undo { on: on.iter().map(|name| event(name)).collect(), emits: event(emits) }),
        pivot: false,
        deadline: None,
    }
}

fn saga(steps: Vec<Step>, abort_on: &[&str], completes: &str) -> Definition {
    Definition {
        name: "PlaceOrder".to_owned(),
        version: 1,
        about: String::new(),
        key: "OrderId".to_owned(),
        starts: event("Created"),
        completes: event(completes),
        aborts: event("Cancelled"),
        deadline: Duration::from_secs(900),
        steps,
        abort: Abort {
            name: "Cancel".to_owned(),
            about: String::new(),
            on: abort_on.iter().map(|name| event(name)).collect(),
            cancel: true,
            deadline: true,
            emits: event("Cancelled"),
        },
        former: BTreeMap::new(),
    }
}

/// The saga of the example: a declined payment first releases the goods, which then triggers the abort.
pub(crate) fn place_order() -> Definition {
    let confirm = Step { pivot: true, ..step("Confirm", "Paid", "Confirmed", "", None) };
    let steps = vec![
        step("Reserve", "Created", "Reserved", "Insufficient", Some((&["Declined", "Cancelled"], "Released"))),
        step("Pay", "Reserved", "Paid", "Declined", Some((&["Cancelled"], "Refunded"))),
        confirm,
    ];
    saga(steps, &["Insufficient", "Released"], "Confirmed")
}

/// Three participants before the pivot and one after it. Each refusal triggers the abort directly.
pub(super) fn three() -> Definition {
    let confirm = Step { pivot: true, ..step("Confirm", "Booked", "Confirmed", "", None) };
    let steps = vec![
        step("Reserve", "Created", "Reserved", "Insufficient", Some((&["Cancelled"], "Released"))),
        step("Pay", "Reserved", "Paid", "Declined", Some((&["Cancelled"], "Refunded"))),
        step("Book", "Paid", "Booked", "Refused", Some((&["Cancelled"], "Unbooked"))),
        confirm,
        step("Ship", "Confirmed", "Shipped", "", None),
    ];
    saga(steps, &["Insufficient", "Declined", "Refused"], "Shipped")
}
