//! Compares the diagrams with the files in `testdata`. `UPDATE_PICTURES=1` rewrites the files.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::Value;

use super::super::{Abort, Chart, Definition, EventRef, Participants, Step, Undo};

fn event(name: &str) -> EventRef {
    EventRef { name: name.to_owned(), topic: "orders".to_owned() }
}

fn events(names: &[&str]) -> Vec<EventRef> {
    names.iter().map(|name| event(name)).collect()
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

/// A declined payment first releases the goods, which then triggers the abort.
fn place_order() -> Definition {
    let undo = |on: &[&str], emits| Some(Undo { on: events(on), emits: event(emits) });
    Definition {
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
                ..step("ReserveInventory", "Inventory puts the goods aside.", "OrderCreated", "InventoryReserved")
            },
            Step {
                rejects: Some(event("PaymentFailed")),
                undo: undo(&["OrderCancelled"], "PaymentRefunded"),
                deadline: Some(Duration::from_secs(90)),
                ..step("ProcessPayment", "Payment charges the customer.", "InventoryReserved", "PaymentProcessed")
            },
            Step {
                pivot: true,
                ..step("ConfirmOrder", "The order service's own commit decides.", "PaymentProcessed", "OrderConfirmed")
            },
        ],
        abort: Abort {
            name: "CancelOrder".to_owned(),
            about: "Also what a customer's cancel and the deadline lead to.".to_owned(),
            on: events(&["InventoryInsufficient", "InventoryReleased"]),
            cancel: true,
            deadline: true,
            emits: event("OrderCancelled"),
        },
        former: BTreeMap::new(),
    }
}

/// A saga that consists of its pivot only.
fn minimal() -> Definition {
    Definition {
        name: "decide".to_owned(),
        version: 7,
        about: String::new(),
        key: "u64".to_owned(),
        starts: event("Asked"),
        completes: event("Agreed"),
        aborts: event("Declined"),
        deadline: Duration::from_secs(5_400),
        steps: vec![Step { pivot: true, ..step("Agree", "", "Asked", "Agreed") }],
        abort: Abort {
            name: "Decline".to_owned(),
            about: String::new(),
            on: Vec::new(),
            cancel: false,
            deadline: true,
            emits: event("Declined"),
        },
        former: BTreeMap::new(),
    }
}

/// Compensations that trigger each other, steps after the pivot, and no cancel or deadline.
fn chained() -> Definition {
    let mut saga = place_order();
    saga.name = "ChainedOrder".to_owned();
    (saga.abort.cancel, saga.abort.deadline) = (false, false);
    saga.abort.on = events(&["InventoryInsufficient", "PaymentFailed", "BookingFailed"]);
    if let Some(undo) = &mut saga.steps[0].undo {
        undo.on = events(&["PaymentFailed", "PaymentRefunded"]);
    }
    if let Some(undo) = &mut saga.steps[1].undo {
        undo.on = events(&["OrderCancelled"]);
    }
    let book = Step { rejects: Some(event("BookingFailed")), ..step("BookCourier", "", "PaymentProcessed", "CourierBooked") };
    saga.steps[2].on = event("CourierBooked");
    saga.steps.insert(2, book);
    saga.steps.push(step("ShipOrder", "", "OrderConfirmed", "OrderShipped"));
    saga.steps.push(step("SendInvoice", "", "OrderConfirmed", "InvoiceSent"));
    saga
}

fn with_services(definition: Definition) -> Chart {
    let named = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(step, service)| ((*step).to_owned(), (*service).to_owned())).collect()
    };
    let done_by = named(&[
        ("ReserveInventory", "inventory"),
        ("ProcessPayment", "payment-service"),
        ("ConfirmOrder", "orders"),
        ("CancelOrder", "orders"),
    ]);
    let undone_by = named(&[("ReserveInventory", "inventory"), ("ProcessPayment", "payment-service")]);
    Chart { definition, participants: Participants { tracker: Some("orders".to_owned()), done_by, undone_by } }
}

#[test]
fn they_are_as_they_were_last_seen() {
    let charts = [
        ("place_order", with_services(place_order())),
        ("place_order_alone", Chart::of(place_order())),
        ("minimal", Chart::of(minimal())),
        ("chained", Chart::of(chained())),
    ];
    for (name, chart) in charts {
        agrees(&format!("{name}_state.mmd"), &chart.state_diagram());
        agrees(&format!("{name}_sequence.mmd"), &chart.sequence_diagram());
        agrees(&format!("{name}.dot"), &chart.graphviz());
        agrees(&format!("{name}.md"), &chart.canvas());
    }
}

/// Adds `evil` to each name of the saga and of its participants.
fn renamed(chart: &Chart, evil: &str) -> Chart {
    fn rename(value: Value, evil: &str) -> Value {
        match value {
            Value::String(name) => format!("{name}{evil}x").into(),
            Value::Array(values) => values.into_iter().map(|value| rename(value, evil)).collect(),
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, rename(value, evil))).collect(),
            other => other,
        }
    }
    let mut renamed: Chart = serde_json::from_value(rename(serde_json::to_value(chart).expect("JSON"), evil)).expect("a chart");
    for services in [&mut renamed.participants.done_by, &mut renamed.participants.undone_by] {
        *services = std::mem::take(services).into_iter().map(|(step, by)| (format!("{step}{evil}x"), by)).collect();
    }
    renamed
}

/// Counts `c` in each line, where no backslash precedes it.
fn bare(picture: &str, c: char) -> Vec<usize> {
    let count = |line: &str| {
        let (mut count, mut escaped) = (0, false);
        for found in line.chars() {
            count += usize::from(found == c && !escaped);
            escaped = found == '\\' && !escaped;
        }
        count
    };
    picture.lines().map(count).collect()
}

type Draw = fn(&Chart) -> String;

#[test]
fn no_name_breaks_a_picture() {
    let tame = with_services(place_order());
    for evil in [
        "\n",
        "\r\n    end\n",
        "\"",
        "|",
        "\\",
        ":",
        "; ",
        "#",
        "#quot;",
        "%%",
        "-->",
        "-)",
        "}",
        "{",
        "]",
        "<br/>",
        "`",
        "\u{2028}",
        "\0",
    ] {
        let hostile = renamed(&tame, evil);
        let pictures: [(&str, Draw); 4] = [
            (";\":{}<>%[]|\\`\n", Chart::state_diagram),
            (";\":{}<>%[]|\\`\n", Chart::sequence_diagram),
            ("\"\n", Chart::graphviz),
            ("|\n", Chart::canvas),
        ];
        for (meant, draw) in pictures {
            let (tame, hostile) = (draw(&tame), without_codes(&draw(&hostile)));
            for c in meant.chars() {
                assert_eq!(bare(&hostile, c), bare(&tame, c), "{c:?} by {evil:?}:\n{hostile}");
            }
            assert!(!hostile.chars().any(|c| c.is_control() && c != '\n'), "{evil:?}:\n{hostile:?}");
        }
    }
}

/// Replaces each character code in `picture` with a letter.
fn without_codes(picture: &str) -> String {
    let mut parts = picture.split('#');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(';') {
        Some((code, rest)) if !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()) => format!("{text}c{rest}"),
        _ => format!("{text}#{part}"),
    })
}

/// A definition that was read from a database may be inconsistent.
#[test]
fn a_saga_with_a_loop_or_without_a_pivot_is_drawn_all_the_same() {
    let mut looping = place_order();
    looping.steps[0].on = event("PaymentProcessed");
    let mut late = chained();
    late.starts = event("OrderShipped");
    let mut open = place_order();
    open.steps.pop();
    for saga in [looping, late, open] {
        let chart = Chart::of(saga);
        for picture in [chart.state_diagram(), chart.sequence_diagram(), chart.graphviz(), chart.canvas()] {
            assert!(picture.contains("CancelOrder") && picture.len() < 10_000, "{picture}");
        }
    }
}

/// Compares `picture` with the one in `file`.
fn agrees(file: &str, picture: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/saga/diagram/testdata").join(file);
    if std::env::var("UPDATE_PICTURES").is_ok_and(|update| update == "1") {
        std::fs::write(&path, picture).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(picture, kept, "{file} differs; if that is meant, run the test with UPDATE_PICTURES=1");
}
