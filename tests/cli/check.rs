//! The command `sagas check`.

use sagas::saga::StepState;
use serde_json::Value;

use super::{
    program::{text, values},
    records::{MINUTE, Services, one_of_each},
};

#[tokio::test]
async fn everything_that_somebody_should_see_to_is_found() {
    let folder = one_of_each().await;
    let found = values(folder.path(), &["check"], 1).await;
    let named = |value: &Value| {
        let part = |name: &str| value[name].as_str().unwrap_or("-").to_owned();
        assert!(!part("what").is_empty() && !part("fix").is_empty(), "{value:#}");
        (part("kind"), part("service"), part("sagaId"))
    };
    let mut found: Vec<_> = found.iter().map(named).collect();
    found.sort();
    let expected = [
        ("attention", "order", "attention"),
        ("deadLetter", "payment", "-"),
        ("deadLetter", "payment", "attention"),
        ("lapsed", "payment", "overdue"),
        ("notAllowed", "order", "odd"),
        ("overdue", "order", "overdue"),
        ("unknownVersion", "order", "-"),
    ];
    assert_eq!(found, expected.map(|(kind, service, id)| (kind.to_owned(), service.to_owned(), id.to_owned())));
}

#[tokio::test]
async fn each_finding_comes_with_its_fix() {
    let folder = one_of_each().await;
    let report = text(folder.path(), &["check"], 1).await;
    for part in [
        "order: PlaceOrder attention: it needs attention: payment gave ProcessPayment up",
        "then POST /sagas/PlaceOrder/attention/retry",
        "order: PlaceOrder overdue: it is 5m",
        "past its deadline, and undecided",
        "POST /sagas/PlaceOrder/overdue/compensate",
        "1 event came that the saga does not allow",
        "payment: PlaceOrder attention: InventoryReserved was given up after 5 attempts: no such card (dead letter letter-1)",
        "POST /dead-letters/letter-1/retry at service payment",
        "payment: 1 open dead letter of Unrelated (topic elsewhere); the newest after 5 attempts: no part of a saga (dead letter letter-2)",
        "then `sagas letters retry --service payment --topic elsewhere --type Unrelated`, or discard",
        "1 open instance is of version 7",
        "payment: PlaceOrder overdue: an attempt at ProcessPayment was begun 19m",
        "7 findings: 5 open instances in inventory, order, payment.",
    ] {
        assert!(report.contains(part), "{part:?} is missing:\n{report}");
    }
    assert_eq!(report.matches("    fix: ").count(), 7, "{report}");
}

#[tokio::test]
async fn nothing_is_found_where_all_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    services.keep(&services.instance("running", MINUTE, &["InventoryReserved"])).await;
    services.keep(&services.instance("done", MINUTE, &["InventoryReserved", "PaymentProcessed", "OrderConfirmed"])).await;
    services.stop().await;
    assert_eq!(text(folder.path(), &["check"], 0).await, "Nothing was found: 1 open instance in order.");
    assert_eq!(values(folder.path(), &["check"], 0).await.len(), 0);
}

#[tokio::test]
async fn a_dead_letter_of_an_event_by_an_earlier_name_is_of_its_flow() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    services.keep(&services.instance("7", 10 * MINUTE, &["InventoryReserved"])).await;
    let (begun, until) = (services.ago(9 * MINUTE), services.ago(8 * MINUTE));
    services.step("payment", "7", "ProcessPayment", StepState::Begun, begun, Some(until)).await;
    services.bury("payment", "letter-1", "7", "StockReserved", "inventory", "no such card").await;
    services.bury("payment", "letter-2", "7", "StockReserved", "elsewhere", "no part of a saga").await;
    services.stop().await;
    // The attempt of the step is reported with its dead letter.
    let found = values(folder.path(), &["check"], 1).await;
    let mut found: Vec<_> = found.iter().map(|found| (found["kind"].as_str().unwrap(), found["sagaId"].as_str())).collect();
    found.sort_unstable();
    assert_eq!(found, [("deadLetter", None), ("deadLetter", Some("7"))]);
    let story = text(folder.path(), &["explain", "7"], 0).await;
    assert!(story.contains("payment gave InventoryReserved up") && story.contains("it is the dead letter letter-1"), "{story}");
    assert!(!story.contains("letter-2"), "{story}");
}
