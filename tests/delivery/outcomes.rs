//! Every outcome of a handler, on every database.

use sagas::{message::Received, prelude::*, testing::Pump};
use serde::{Deserialize, Serialize};

use crate::support::*;

#[event]
#[derive(Debug, Clone)]
enum Verdict {
    Charged(Charged),
    Declined(Declined),
}

#[handler]
async fn nothing(On(_): On<Placed>) {}

#[handler]
async fn several(On(placed): On<Placed>) -> (Charged, Vec<Charged>, Option<Declined>) {
    let Placed { order_id, number } = placed.clone();
    let charged = |add| Charged { order_id: order_id.clone(), number: number + add };
    let refusal = (number % 2 == 1).then(|| declined(placed));
    (charged(100), vec![charged(200), charged(300)], refusal)
}

#[handler]
async fn either(On(placed): On<Placed>) -> Verdict {
    match placed.number {
        0 => Verdict::Declined(declined(placed)),
        _ => Verdict::Charged(Charged { order_id: placed.order_id, number: placed.number }),
    }
}

#[event(topic = "audit", key = name)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Heard {
    name: String,
}

#[handler]
async fn hear(On(verdict): On<Verdict>) -> Heard {
    Heard {
        name: match verdict {
            Verdict::Charged(_) => "charged".to_owned(),
            Verdict::Declined(_) => "declined".to_owned(),
        },
    }
}

/// Publishes with `Tx::publish`, and returns the id of the published event in another event.
#[handler]
async fn by_hand(On(placed): On<Placed>, mut tx: Tx) -> Result<Heard, Failure> {
    let id = tx.publish(&Charged { order_id: placed.order_id, number: placed.number })?;
    Ok(Heard { name: id.to_string() })
}

async fn pump(database: Database, handlers: impl IntoIterator<Item = sagas::handler::Handler>, plan: &Plan) -> Pump {
    Pump::of([service(&database, plan).handlers(handlers)]).try_start(&["orders", "payments", "audit"]).await.unwrap()
}

fn header<'r>(received: &'r Received, name: &str) -> Option<&'r str> {
    received.record.header(name)
}

#[tokio::test]
async fn unit_publishes_nothing() {
    for database in databases().await {
        let pump = pump(database, handlers![nothing], &Plan::done()).await;
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        assert_eq!(pump.records("payments").await.len(), 0);
        assert_eq!(metric(pump.service("payments"), "sagas_deliveries_total", "outcome=\"done\""), 1.0);
    }
}

#[tokio::test]
async fn tuples_lists_and_options_are_published_in_order() {
    for database in databases().await {
        let pump = pump(database, handlers![several], &Plan::done()).await;
        pump.publish(&placed("a", 1)).await;
        pump.publish(&placed("a", 2)).await;
        pump.run_until_quiet().await;
        let published: Vec<_> = pump.records("payments").await.iter().map(|r| header(r, "ce_type").unwrap().to_owned()).collect();
        assert_eq!(published, ["Charged", "Charged", "Charged", "Declined", "Charged", "Charged", "Charged"]);
        let numbers: Vec<_> = pump.published::<Charged>().await.iter().map(|charged| charged.number).collect();
        assert_eq!(numbers, [101, 201, 301, 102, 202, 302]);
    }
}

#[tokio::test]
async fn enums_of_events_go_out_and_come_in() {
    for database in databases().await {
        let listener = Service::new("audit", Database::memory()).handlers(handlers![hear]);
        let payments = service(&database, &Plan::done()).handlers(handlers![either]);
        let pump = Pump::of([payments, listener]).try_start(&["audit"]).await.unwrap();
        pump.publish(&placed("a", 0)).await;
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        let mut heard: Vec<_> = pump.published::<Heard>().await.into_iter().map(|heard| heard.name).collect();
        heard.sort();
        assert_eq!(heard, ["charged", "declined"]);
    }
}

#[tokio::test]
async fn a_refusal_is_published_and_its_writes_are_undone() {
    let database = sqlite().await;
    let plan = Plan::new(|placed, _| if placed.number % 2 == 0 { Step::Done } else { Step::Reject }).rows();
    let pump = pump(database.clone(), handlers![refusing], &plan).await;
    for number in 0..10 {
        pump.publish(&placed("a", number)).await;
    }
    pump.run_until_quiet().await;
    assert_eq!(rows(&database).await.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
    assert_eq!(pump.published::<Charged>().await.iter().map(|charged| charged.number).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
    assert_eq!(pump.published::<Declined>().await.iter().map(|declined| declined.number).collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
    assert_eq!(plan.calls().len(), 10, "a refusal re-runs nobody");
}

#[tokio::test]
async fn what_is_published_by_hand_leaves_under_the_identity_it_was_given() {
    for database in databases().await {
        let pump = pump(database, handlers![by_hand], &Plan::done()).await;
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        let told = pump.published::<Heard>().await.remove(0).name;
        let records = pump.records("payments").await;
        assert_eq!(header(&records[0], "ce_id"), Some(told.as_str()));
    }
}

#[tokio::test]
async fn the_flow_goes_on_in_what_is_published() {
    for database in databases().await {
        let pump = pump(database.clone(), handlers![bare], &Plan::done()).await;
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let headers = [
            ("ce_id", "m1"),
            ("ce_source", "shop"),
            ("ce_type", "Placed"),
            ("ce_correlationid", "flow-7"),
            ("ce_sagaid", "saga-7"),
            ("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")),
            ("tracestate", "vendor=1"),
        ];
        pump.publish_record(record(Some(b"a"), Some(br#"{"order_id":"a","number":1}"#), &headers)).await;
        pump.run_until_quiet().await;
        let records = pump.records("payments").await;
        let published = &records[0];
        assert_eq!(header(published, "ce_correlationid"), Some("flow-7"));
        assert_eq!(header(published, "ce_causationid"), Some("m1"));
        assert_eq!(header(published, "ce_sagaid"), Some("saga-7"));
        assert_eq!(header(published, "ce_source"), Some("payments"));
        assert_eq!(header(published, "tracestate"), Some("vendor=1"));
        let parent = header(published, "traceparent").unwrap();
        assert_eq!(&parent[3..35], trace);
        assert_ne!(&parent[36..52], "00f067aa0ba902b7", "a span of its own");
    }
}

#[tokio::test]
async fn a_handler_that_claims_no_step_leaves_no_record_of_one() {
    for database in databases().await {
        let pump = pump(database.clone(), handlers![bare], &Plan::done()).await;
        pump.publish(&placed("a", 1)).await;
        pump.publish_record(record(Some(b"a"), Some(br#"{"order_id":"a","number":2}"#), &[("ce_sagaid", "saga-7")])).await;
        pump.run_until_quiet().await;
        assert_eq!(pump.published::<Charged>().await.len(), 2);
        assert_eq!(kept_of_sagas(&database, "payments").await, 0);
    }
}
