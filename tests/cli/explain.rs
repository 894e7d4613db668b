//! The command `sagas explain`.

use sagas::saga::{Definition, StepState};
use serde_json::json;

use super::{
    program::{is_refused, sagas, text, values},
    records::{MINUTE, Services, one_of_each},
};

async fn explained(id: &str) -> String {
    let folder = one_of_each().await;
    text(folder.path(), &["explain", id], 0).await
}

fn tells(story: &str, parts: &[&str]) {
    for part in parts {
        assert!(story.contains(part), "{part:?} is missing:\n{story}");
    }
}

#[tokio::test]
async fn what_is_missing_and_who_should_do_it_is_told() {
    let story = explained("running").await;
    tells(
        &story,
        &[
            "PlaceOrder running, version 1, tracked by order",
            "+0.000s  OrderCreated       by order",
            "+1.000s  InventoryReserved  by inventory",
            "waiting for payment to do ProcessPayment, on InventoryReserved: one of PaymentProcessed, PaymentFailed",
            "an attempt was begun 1m",
            "may be running for another",
            "inventory  ReserveInventory  done ",
            "payment    ProcessPayment    begun",
            "by a call of service order",
            "POST /sagas/PlaceOrder/running/retry",
            r#"POST /sagas/PlaceOrder/running/skip        {"by":"…","reason":"…","step":"ProcessPayment"}"#,
            "POST /sagas/PlaceOrder/running/compensate",
            "POST /sagas/PlaceOrder/running/complete",
        ],
    );
    assert!(!story.contains("Dead letters"), "{story}");
}

#[tokio::test]
async fn the_dead_letter_that_stands_in_the_way_is_told() {
    let story = explained("attention").await;
    tells(&story, &["payment gave ProcessPayment up", "letter-1  InventoryReserved  open", "after 5 attempts", "no such card"]);
    tells(&story, &["returns dead letter letter-1 to its handler in payment"]);
    assert!(!story.contains("letter-2"), "it is of no event of the saga: {story}");
}

#[tokio::test]
async fn a_step_whose_message_is_a_dead_letter_is_not_said_to_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    services.keep(&services.instance("stuck", 20 * MINUTE, &["InventoryReserved"])).await;
    let (begun, until) = (services.ago(19 * MINUTE), services.ago(18 * MINUTE));
    services.step("payment", "stuck", "ProcessPayment", StepState::Begun, begun, Some(until)).await;
    services.bury("payment", "letter-3", "stuck", "InventoryReserved", "inventory", "no such card").await;
    services.keep(&services.instance("done", 2 * MINUTE, &["InventoryReserved", "PaymentProcessed", "OrderConfirmed"])).await;
    services.bury("payment", "letter-4", "done", "InventoryReserved", "inventory", "no such card").await;
    services.stop().await;
    let story = text(folder.path(), &["explain", "stuck"], 0).await;
    tells(
        &story,
        &["payment gave InventoryReserved up 1m", "after 5 attempts: it is the dead letter letter-3, and is not tried again"],
    );
    assert!(!story.contains("tries again when it runs"), "{story}");
    tells(&text(folder.path(), &["explain", "done"], 0).await, &["letter-4", "the saga has ended without them"]);
    let report = text(folder.path(), &["check"], 1).await;
    tells(&report, &["POST /dead-letters/letter-3/retry at service payment", "its saga has ended as COMPLETED without it"]);
    assert!(
        report.contains("POST /dead-letters/letter-4/discard at service payment") && !report.contains("an attempt at"),
        "{report}"
    );
}

#[tokio::test]
async fn what_the_flow_does_not_allow_is_told() {
    let story = explained("odd").await;
    tells(&story, &["1 event, listed in the timeline", "not allowed: InventoryReserved contradicts InventoryInsufficient"]);
}

#[tokio::test]
async fn nothing_is_to_be_done_about_one_that_has_ended() {
    let story = explained("done").await;
    tells(&story, &["COMPLETED", "after 3s", "OrderConfirmed"]);
    assert!(!story.contains("Missing") && !story.contains("POST"), "{story}");
}

#[tokio::test]
async fn a_flow_that_is_not_known_is_told() {
    let folder = one_of_each().await;
    let story = text(folder.path(), &["explain", "old", "--saga", "PlaceOrder"], 0).await;
    tells(&story, &["version 7", "version 7 of the saga is not known here", "/sagas/PlaceOrder/old/complete"]);
}

#[tokio::test]
async fn programs_get_one_value() {
    let folder = one_of_each().await;
    let [story] = &values(folder.path(), &["explain", "attention"], 0).await[..] else { panic!("not one value") };
    assert_eq!((&story["sagaId"], &story["service"]), (&json!("attention"), &json!("order")));
    assert_eq!(story["timeline"][1]["event"], "InventoryReserved");
    let missing = json!({
        "step": "ProcessPayment",
        "undo": false,
        "service": "payment",
        "on": "InventoryReserved",
        "events": ["PaymentProcessed", "PaymentFailed"],
        "remark": story["missing"][0]["remark"].clone()
    });
    assert_eq!(story["missing"], json!([missing]));
    let remark = missing["remark"].as_str().unwrap();
    assert!(
        remark.starts_with("payment gave InventoryReserved up ")
            && remark.ends_with("POST /dead-letters/letter-1/retry at payment")
    );
    let letters = story["deadLetters"].as_array().unwrap();
    assert_eq!((letters.len(), &letters[0]["id"], &letters[0]["state"]), (1, &json!("letter-1"), &json!("open")));
    assert_eq!(story["operations"][0]["path"], "/sagas/PlaceOrder/attention/retry");
    assert!(story["startedAt"].is_string() && story["expectedNext"].is_array(), "{story:#}");
}

#[tokio::test]
async fn a_participant_that_is_ahead_or_missing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    services.keep(&services.instance("ahead", MINUTE, &["InventoryReserved"])).await;
    services.step("payment", "ahead", "ProcessPayment", StepState::Done, services.now, None).await;
    services.keep(&services.instance("undo", MINUTE, &["InventoryReserved", "OrderCancelled"])).await;
    services.stop().await;
    tells(&text(folder.path(), &["explain", "ahead"], 0).await, &["payment has done it", "in its outbox"]);
    let story = text(folder.path(), &["explain", "undo"], 0).await;
    tells(&story, &["waiting for inventory to undo ReserveInventory, on OrderCancelled: InventoryReleased"]);
    tells(&story, &["inventory has kept nothing here", "declares the undo of ReserveInventory settled"]);
}

#[tokio::test]
async fn who_only_knows_that_a_flow_was_given_up_has_done_no_step() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    services.keep(&services.instance("given-up", MINUTE, &["InventoryReserved", "OrderCancelled"])).await;
    services.step("inventory", "given-up", "ReserveInventory", StepState::Undone, services.now, None).await;
    for service in ["inventory", "payment", "order"] {
        services.step(service, "given-up", "CancelOrder", StepState::Done, services.now, None).await;
    }
    services.stop().await;
    let [story] = &values(folder.path(), &["explain", "given-up"], 0).await[..] else { panic!("not one value") };
    let mut steps: Vec<_> = story["steps"].as_array().unwrap().iter().map(|step| (&step["service"], &step["step"])).collect();
    steps.sort_by_key(|(service, _)| service.as_str());
    assert_eq!(steps, [(&json!("inventory"), &json!("ReserveInventory")), (&json!("order"), &json!("CancelOrder"))]);
}

#[tokio::test]
async fn an_identity_that_is_not_there_is_named() {
    let folder = one_of_each().await;
    let unknown = |args: &[&str]| {
        let mut command = sagas(["explain", "--data"]);
        command.arg(folder.path()).args(args);
        command
    };
    is_refused(unknown(&["nobody"]), 1, &["there is no instance `nobody`", "inventory, order, payment", "sagas ps --all"]).await;
    is_refused(unknown(&["running", "--saga", "Refund"]), 1, &["there is no instance `running` of Refund"]).await;
    let elsewhere = unknown(&["running", "--saga", "PlaceOrder", "--service", "inventory"]);
    is_refused(elsewhere, 1, &["no service here tracks", "ReserveInventory (done at inventory)"]).await;
    is_refused(unknown(&[]), 2, &["<ID>"]).await;
}

#[tokio::test]
async fn a_key_without_an_instance_whose_message_was_given_up_names_the_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    services.bury("payment", "letter-1", "mail-7", "InvoiceIssued", "invoices", "no mail server").await;
    services.stop().await;
    let explain = |key: &str| {
        let mut command = sagas(["explain", key, "--data"]);
        command.arg(folder.path());
        command
    };
    let see = "; a dead letter of this key is open, see `sagas letters list --key mail-7`; it is letter-1, InvoiceIssued at payment: no mail server";
    is_refused(explain("mail-7"), 1, &["there is no instance `mail-7` in what these services keep", see]).await;
    let other = is_refused(explain("mail-8"), 1, &["there is no instance `mail-8`"]).await;
    assert!(!other.stderr.contains("dead letter"), "{other:#?}");

    let payment = super::records::file(folder.path(), "payment").await;
    let mut tx = payment.store().begin().await.unwrap();
    tx.insert_dead_letters("payment", &[super::letters::letter(2, "orders", "mail-7", "a timeout")]).await.unwrap();
    tx.commit().await.unwrap();
    payment.store().close().await;
    let several = ["; 2 dead letters of this key are open, see `sagas letters list --key mail-7`; the newest is "];
    is_refused(explain("mail-7"), 1, &several).await;
}

#[tokio::test]
async fn a_key_of_two_sagas_is_to_be_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut services = Services::in_folder(folder.path()).await;
    services.keep(&services.instance("7", MINUTE, &[])).await;
    services.chart.definition = Definition { name: "Refund".into(), ..services.chart.definition };
    services.define(&services.chart).await;
    services.keep(&services.instance("7", MINUTE, &[])).await;
    services.stop().await;
    let mut command = sagas(["explain", "7", "--data"]);
    command.arg(folder.path());
    is_refused(command, 1, &["several sagas have an instance `7`: PlaceOrder, Refund; name one by --saga"]).await;
    tells(&text(folder.path(), &["explain", "7", "--saga", "Refund"], 0).await, &["Refund 7, version 1"]);
}
