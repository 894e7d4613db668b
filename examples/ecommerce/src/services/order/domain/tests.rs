#![allow(clippy::unwrap_used)]

use uuid::Uuid;

use super::*;
use crate::contracts::{PaymentId, PaymentMethod};

fn order_id() -> OrderId {
    OrderId(Uuid::nil())
}

fn customer_id() -> CustomerId {
    CustomerId::try_from("ada".to_owned()).unwrap()
}

fn created() -> Change {
    Change::Created(OrderCreated {
        order_id: order_id(),
        customer_id: customer_id(),
        items: Vec::new(),
        total: Money::eur(1980),
        payment_method: PaymentMethod::CreditCard,
    })
}

fn reserved() -> Change {
    Change::Reserved(InventoryReserved {
        order_id: order_id(),
        reservations: Vec::new(),
        customer_id: customer_id(),
        total: Money::eur(1980),
        payment_method: PaymentMethod::CreditCard,
    })
}

fn insufficient() -> Change {
    let reason = "out of stock: sold-out".to_owned();
    Change::Insufficient(InventoryInsufficient { order_id: order_id(), missing: Vec::new(), reason })
}

fn paid() -> Change {
    Change::Paid(PaymentProcessed {
        order_id: order_id(),
        payment_id: PaymentId(Uuid::nil()),
        amount: Money::eur(1980),
        payment_method: PaymentMethod::CreditCard,
    })
}

fn payment_failed() -> Change {
    let reason = "card declined".to_owned();
    Change::PaymentFailed(PaymentFailed { order_id: order_id(), payment_id: PaymentId(Uuid::nil()), amount: Money::ZERO, reason })
}

fn released() -> Change {
    let reason = "card declined".to_owned();
    Change::Released(InventoryReleased { order_id: order_id(), released: Vec::new(), reason })
}

fn shipped() -> Change {
    Change::Shipped(OrderShipped { order_id: order_id(), tracking: "T-1".to_owned() })
}

/// Applies `news` as the service does: keeps the events that have an effect, and the decisions that follow from them.
fn follow(news: &[Change]) -> (Vec<Change>, Vec<OrderStatus>) {
    let mut history = vec![created()];
    let mut order = Order::fold(&history).unwrap();
    let mut statuses = vec![order.status];
    for change in news {
        if !order.apply(change) {
            continue;
        }
        history.push(change.clone());
        let decision = match change {
            Change::Paid(_) => Some(Change::from(order.confirmed())),
            Change::Insufficient(_) | Change::Released(_) => Some(Change::from(order.cancelled("for no reason"))),
            _ => None,
        };
        if let Some(decision) = decision {
            assert!(order.apply(&decision), "a decision has its effect");
            history.push(decision);
        }
        statuses.push(order.status);
    }
    assert_eq!(Order::fold(&history).as_ref(), Some(&order), "the history folds to the state");
    (history, statuses)
}

fn permutations(items: &[Change]) -> Vec<Vec<Change>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for index in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(index);
        all.extend(permutations(&rest).into_iter().map(|mut tail| {
            tail.insert(0, first.clone());
            tail
        }));
    }
    all
}

/// Every event twice, in every order.
fn interleavings(flow: &[Change]) -> Vec<Vec<Change>> {
    permutations(&[flow, flow].concat())
}

#[test]
fn every_interleaving_of_a_flow_ends_as_the_flow_does() {
    let flows: [(&str, Vec<Change>, OrderStatus, Option<&str>); 3] = [
        ("happy", vec![reserved(), paid()], OrderStatus::Completed, None),
        ("insufficient", vec![insufficient()], OrderStatus::Cancelled, Some("out of stock: sold-out")),
        ("declined", vec![reserved(), payment_failed(), released()], OrderStatus::Cancelled, Some("card declined")),
    ];
    for (name, flow, end, reason) in flows {
        for news in interleavings(&flow) {
            let (history, statuses) = follow(&news);
            let order = Order::fold(&history).unwrap();
            assert_eq!((order.status, order.reason.as_deref()), (end, reason), "{name}: {news:?}");
            assert!(statuses.windows(2).all(|pair| pair[0].rank() <= pair[1].rank()), "{name} goes backwards: {statuses:?}");
            let ends = history.iter().filter(|change| matches!(change, Change::Confirmed(_) | Change::Cancelled(_))).count();
            assert_eq!(ends, 1, "{name} ends once: {history:?}");
        }
    }
}

#[test]
fn nothing_but_shipping_follows_the_end() {
    let everything = [created(), reserved(), insufficient(), paid(), payment_failed(), released()];
    for flow in [vec![reserved(), paid()], vec![insufficient()], vec![reserved(), payment_failed(), released()]] {
        let (history, _) = follow(&flow);
        let mut order = Order::fold(&history).unwrap();
        let end = order.status;
        for change in &everything {
            assert!(!order.apply(change), "{change:?} changed an order that was {end}");
        }
        assert_eq!(order.apply(&shipped()), end == OrderStatus::Completed, "shipping an order that was {end}");
        assert!(!order.apply(&shipped()), "an order is shipped once");
    }
}

#[test]
fn an_order_in_flight_is_not_shipped() {
    for news in [vec![], vec![reserved()], vec![reserved(), payment_failed()]] {
        let (history, _) = follow(&news);
        assert!(!Order::fold(&history).unwrap().apply(&shipped()));
    }
}

#[test]
fn an_event_that_overtook_its_cause_is_known() {
    let cases = [
        (vec![], paid(), true),
        (vec![reserved()], paid(), false),
        (vec![], payment_failed(), true),
        (vec![reserved()], released(), true),
        (vec![reserved(), payment_failed()], released(), false),
        (vec![], insufficient(), false),
        (vec![reserved(), paid()], released(), false),
    ];
    for (news, change, overtaken) in cases {
        let order = Order::fold(&follow(&news).0).unwrap();
        assert_eq!(order.is_overtaken_by(&change), overtaken, "{change:?} on {}", order.status);
    }
}

#[test]
fn a_history_begins_with_the_creation() {
    assert_eq!(Order::fold(&[reserved()]), None);
    assert_eq!(Order::fold(&[]), None);
}
