//! Errors planted in the app of the example: it does not start, and each error is reported with its fix.

use ecommerce::{
    contracts::{OrderShipped, PlaceOrder},
    services::{analytics, inventory, notification, order, payment},
};
use sagas::{handler::Handler, prelude::*};

/// The app with its handlers only.
struct Parts {
    order: Vec<Handler>,
    inventory: Vec<Handler>,
    payment: Vec<Handler>,
    notification: Vec<Handler>,
    analytics: Vec<Handler>,
    tracked_by: &'static str,
    remote: Vec<Remote>,
}

impl Parts {
    fn new() -> Self {
        Self {
            order: order::handlers().into(),
            inventory: inventory::handlers().into(),
            payment: payment::handlers().into(),
            notification: notification::handlers().into(),
            analytics: analytics::handlers().into(),
            tracked_by: "order",
            remote: Vec::new(),
        }
    }

    /// Returns the errors of the app, without those about the missing state of handlers.
    fn problems(self) -> Vec<String> {
        let services = [
            ("order", self.order),
            ("inventory", self.inventory),
            ("payment", self.payment),
            ("notification", self.notification),
            ("analytics", self.analytics),
        ];
        let mut app = App::new("ecommerce").saga::<PlaceOrder>();
        for (name, handlers) in services {
            let mut service = Service::new(name, Database::memory()).handlers(handlers);
            if name == "order" {
                service = service.publishes::<OrderShipped>();
            }
            if name == self.tracked_by {
                service = service.tracks(Tracker::of::<PlaceOrder>());
            }
            app = app.service(service);
        }
        let app = self.remote.into_iter().fold(app, App::remote);
        let problems = app.check();
        problems.into_iter().filter(|problem| !problem.contains("State<")).collect()
    }
}

fn without(handlers: &mut Vec<Handler>, name: &str) {
    let before = handlers.len();
    handlers.retain(|handler| handler.options().name != name);
    assert_eq!(handlers.len(), before - 1, "there is no handler `{name}`");
}

fn take(handlers: &mut Vec<Handler>, name: &str) -> Handler {
    let at = handlers.iter().position(|handler| handler.options().name == name).unwrap();
    handlers.remove(at)
}

#[test]
fn the_app_itself_has_none() {
    assert_eq!(Parts::new().problems(), [""; 0]);
}

#[test]
fn each_is_told_with_its_fix() {
    type Plant = fn(&mut Parts);
    let planted: [(&str, Plant, &[&str]); 10] = [
        (
            "a step without a handler",
            |parts| without(&mut parts.inventory, "reserve"),
            &["no handler does PlaceOrder::ReserveInventory", "`#[handler(step = PlaceOrder::ReserveInventory)]`"],
        ),
        (
            "an undo without a handler",
            |parts| without(&mut parts.payment, "refund"),
            &["no handler undoes PlaceOrder::ProcessPayment", "`#[handler(undo = PlaceOrder::ProcessPayment)]`"],
        ),
        (
            "a step with two handlers",
            |parts| {
                let again = take(&mut payment::handlers().into(), "charge");
                parts.notification.push(again);
            },
            &["each does PlaceOrder::ProcessPayment; keep one", "service `payment`", "service `notification`"],
        ),
        (
            "a deadline that nobody acts on",
            |parts| without(&mut parts.order, "expire"),
            &["no handler does PlaceOrder::CancelOrder when the deadline has passed", "`Deadline<PlaceOrder>`"],
        ),
        (
            "a refusal that nobody acts on",
            |parts| without(&mut parts.order, "cancel"),
            &["no handler does PlaceOrder::CancelOrder on InventoryInsufficient"],
        ),
        (
            "a pivot away from the tracker",
            |parts| {
                let confirm = take(&mut parts.order, "confirm");
                parts.analytics.clear();
                parts.analytics.push(confirm);
            },
            &["does the pivot, and service `order` tracks the saga", "both belong in one service"],
        ),
        ("no tracker", |parts| parts.tracked_by = "", &["no service tracks it; add `.tracks(Tracker::of::<PlaceOrder>())`"]),
        (
            "an undo away from its step",
            |parts| {
                let release = take(&mut parts.inventory, "release");
                parts.analytics.clear();
                parts.analytics.push(release);
            },
            &["undoes it; what a step left behind is in the database of the service that did it"],
        ),
        (
            "events that nobody takes",
            |parts| parts.analytics.clear(),
            &[
                "NotificationSent is published by",
                "and no service takes it; handle it, or declare with `App::outside::<NotificationSent>()`",
            ],
        ),
        (
            "a service that runs here and elsewhere",
            |parts| parts.remote.push(Remote::new("payment").handlers(payment::handlers())),
            &["service `payment` runs here and is declared as remote"],
        ),
    ];
    for (what, plant, told) in planted {
        let mut parts = Parts::new();
        plant(&mut parts);
        let problems = parts.problems();
        for words in told {
            assert!(problems.iter().any(|problem| problem.contains(words)), "{what}: {words}: {problems:#?}");
        }
    }
}

#[test]
fn all_are_told_at_once() {
    let mut parts = Parts::new();
    without(&mut parts.inventory, "reserve");
    without(&mut parts.payment, "refund");
    without(&mut parts.order, "expire");
    let problems = parts.problems();
    for step in ["does PlaceOrder::ReserveInventory", "undoes PlaceOrder::ProcessPayment", "does PlaceOrder::CancelOrder"] {
        assert!(problems.iter().any(|problem| problem.contains(step)), "{step}: {problems:#?}");
    }
}

/// A service in another program that is declared is part of the saga.
#[test]
fn a_service_that_runs_elsewhere_is_declared() {
    let mut parts = Parts::new();
    parts.payment.clear();
    let missing = parts.problems();
    assert!(missing.iter().any(|problem| problem.contains("no handler does PlaceOrder::ProcessPayment")), "{missing:#?}");
    let elsewhere = Remote::new("payments").handlers(payment::handlers());
    let parts = Parts { payment: Vec::new(), remote: vec![elsewhere], ..Parts::new() };
    assert_eq!(parts.problems(), [""; 0]);
}
