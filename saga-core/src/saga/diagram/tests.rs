#![allow(clippy::unwrap_used)]

use std::{env, fs, path::Path, time::Duration};

use crate::saga::{Abort, Chart, Definition, EventRef, Participants, Step, Undo};

fn event(name: &str) -> EventRef {
    EventRef { name: name.to_owned(), topic: "topic".to_owned() }
}

fn step(name: &str, about: &str, on: &str, emits: &str) -> Step {
    Step {
        name: name.to_owned(),
        about: about.to_owned(),
        on: event(on),
        emits: event(emits),
        rejects: None,
        undo: None,
        pivot: false,
        deadline: None,
    }
}

fn flow(steps: Vec<Step>, abort_on: &[&str]) -> Definition {
    Definition {
        name: "PlaceOrder".to_owned(),
        version: 1,
        about: "Reserve the goods, take the payment, confirm; or give everything back.".to_owned(),
        key: "OrderId".to_owned(),
        starts: event("OrderCreated"),
        completes: event("OrderConfirmed"),
        aborts: event("OrderCancelled"),
        deadline: Duration::from_secs(900),
        steps,
        abort: Abort {
            name: "CancelOrder".to_owned(),
            about: "Gives it up.".to_owned(),
            on: abort_on.iter().map(|name| event(name)).collect(),
            cancel: true,
            deadline: true,
            emits: event("OrderCancelled"),
        },
    }
}

fn place_order() -> Chart {
    let undo = |on: &[&str], emits: &str| Some(Undo { on: on.iter().map(|name| event(name)).collect(), emits: event(emits) });
    let reserve = Step {
        rejects: Some(event("InventoryInsufficient")),
        undo: undo(&["PaymentFailed", "OrderCancelled"], "InventoryReleased"),
        ..step("ReserveInventory", "Puts the goods aside.", "OrderCreated", "InventoryReserved")
    };
    let pay = Step {
        rejects: Some(event("PaymentFailed")),
        undo: undo(&["OrderCancelled"], "PaymentRefunded"),
        deadline: Some(Duration::from_secs(90)),
        ..step("ProcessPayment", "Charges the customer.", "InventoryReserved", "PaymentProcessed")
    };
    let confirm = Step { pivot: true, ..step("ConfirmOrder", "Decides.", "PaymentProcessed", "OrderConfirmed") };
    let by = |steps: &[(&str, &str)]| steps.iter().map(|(step, by)| ((*step).to_owned(), (*by).to_owned())).collect();
    Chart {
        definition: flow(vec![reserve, pay, confirm], &["InventoryInsufficient", "InventoryReleased"]),
        participants: Participants {
            tracker: Some("order".to_owned()),
            done_by: by(&[
                ("ReserveInventory", "inventory"),
                ("ProcessPayment", "payment"),
                ("ConfirmOrder", "order"),
                ("CancelOrder", "order"),
            ]),
            undone_by: by(&[("ReserveInventory", "inventory"), ("ProcessPayment", "payment")]),
        },
    }
}

/// Nothing before the pivot and something after it, and nobody known who does it.
fn smallest() -> Chart {
    let confirm = Step { pivot: true, ..step("ConfirmOrder", "", "OrderCreated", "OrderConfirmed") };
    Chart::of(flow(vec![confirm, step("Ship", "", "OrderConfirmed", "Shipped")], &[]))
}

#[test]
fn pictures_are_those_checked_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/saga/diagram/testdata");
    let mut changed = Vec::new();
    for (name, chart) in [("place_order", place_order()), ("smallest", smallest())] {
        for (kind, picture) in [
            ("state.mmd", chart.state_diagram()),
            ("sequence.mmd", chart.sequence_diagram()),
            ("dot", chart.graphviz()),
            ("md", chart.canvas()),
        ] {
            let path = folder.join(format!("{name}.{kind}"));
            if env::var_os("UPDATE_PICTURES").is_some() {
                fs::write(&path, &picture).unwrap();
            } else if fs::read_to_string(&path).ok().as_deref() != Some(&picture) {
                changed.push(format!("{} is not what is drawn now:\n{picture}", path.display()));
            }
        }
    }
    assert!(changed.is_empty(), "{}\nwhen it is right, run the tests with UPDATE_PICTURES=1", changed.join("\n"));
}

/// What is read from a database may be called anything.
#[test]
fn no_name_breaks_a_picture() {
    const ODD: &str = "a\"b|c`d\n e: f; --> g ]] <h> \\";
    let mut chart = smallest();
    let odd = |text: &mut String| *text = ODD.to_owned();
    odd(&mut chart.definition.name);
    odd(&mut chart.definition.about);
    for step in &mut chart.definition.steps {
        odd(&mut step.name);
        odd(&mut step.about);
    }
    odd(&mut chart.definition.abort.name);
    odd(&mut chart.definition.starts.name);
    let steps = chart.definition.steps.len();
    for step in 0..steps {
        let on = if step == 0 { chart.definition.starts.clone() } else { chart.definition.steps[step - 1].emits.clone() };
        chart.definition.steps[step].on = on;
    }
    chart.participants.done_by.insert(ODD.to_owned(), ODD.to_owned());
    for picture in [chart.state_diagram(), chart.sequence_diagram(), chart.graphviz()] {
        assert!(!picture.contains("a\"b") && !picture.contains("c`d\n"), "{picture}");
    }
    for line in chart.state_diagram().lines().skip(1) {
        assert!(line.matches(':').count() <= 1 && line.matches("-->").count() <= 1, "{line}");
    }
    for line in chart.canvas().lines().filter(|line| line.starts_with('|')) {
        assert!([6, 10].contains(&line.matches('|').count()), "{line}");
    }
}

/// One that a program of another day wrote may not hold together.
#[test]
fn a_flow_with_loops_ends() {
    let mut chart = place_order();
    chart.definition.steps[0].on = event("PaymentProcessed");
    for picture in [chart.state_diagram(), chart.sequence_diagram(), chart.graphviz(), chart.canvas()] {
        assert!(picture.len() < 10_000);
    }
}
