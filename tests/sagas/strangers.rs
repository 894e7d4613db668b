//! Foreign messages in the framework's own topics have only effects that an operator could cause, and leave no rows.

use sagas::{
    id::MessageId,
    message::{Header, Record},
    port::store::InboxKey,
    prelude::*,
    saga::{RetryDeadLetter, StepGivenUp},
    time::LogTime,
    transport::memory::Memory,
};

use crate::{
    shop::{
        PlaceOrder,
        books::Status,
        conduct::{Act, Point},
    },
    stage::{Site, Stage, metric, until_attention},
};

fn record(topic: &str, event: &str, id: &str, key: &str, value: Vec<u8>) -> Record {
    let headers = [("ce_id", id), ("ce_source", "stranger"), ("ce_type", event)];
    Record {
        topic: topic.to_owned(),
        key: Some(key.to_owned().into()),
        value: Some(value.into()),
        headers: headers.iter().map(|(name, value)| Header::text(*name, *value)).collect(),
        timestamp: LogTime::from_millis(1_767_225_600_000),
    }
}

fn forged<E: Event + serde::Serialize>(id: &str, key: &str, event: &E) -> Record {
    record(E::TOPIC, E::NAME, id, key, serde_json::to_vec(event).unwrap())
}

async fn publish(stage: &Stage, records: impl IntoIterator<Item = Record>) {
    for record in records {
        stage.pump.publish_record(record).await;
    }
    stage.pump.run_until_quiet().await;
}

fn ignored(stage: &Stage, service: &str) -> f64 {
    metric(stage.pump.service(service), "sagas_signals_ignored_total", "")
}

fn given_up(id: &str, step: &str) -> StepGivenUp {
    StepGivenUp {
        saga: PlaceOrder::NAME.to_owned(),
        id: id.to_owned(),
        step: step.to_owned(),
        undo: false,
        service: "payment".to_owned(),
        dead_letter: "none".to_owned(),
        error: "forged".to_owned(),
        attempts: 1,
        event: None,
    }
}

/// Returns whether a message with one of these ids has left a row in the inbox of `service`.
async fn leaves_rows(stage: &Stage, service: &str, ids: impl IntoIterator<Item = String>) -> bool {
    let key = |id: String| InboxKey { source: "stranger".into(), id: MessageId::new(id) };
    let keys: Vec<_> = ids.into_iter().map(key).collect();
    let seen = stage.pump.service(service).database().store().seen(service, &keys).await.unwrap();
    seen.contains(&true)
}

async fn open(sql: bool) -> Stage {
    let site = Site::on(Memory::new(), 100);
    if sql { site.sql().await.open().await } else { site.open().await }
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_leaves_no_letter() {
    for sql in [false, true] {
        let stage = open(sql).await;
        let own = [(StepGivenUp::TOPIC, StepGivenUp::NAME), (RetryDeadLetter::TOPIC, RetryDeadLetter::NAME)];
        for (topic, event) in own {
            let garbage = (0..20).map(|at| record(topic, event, &format!("{topic}-{at}"), "7", b"{".to_vec()));
            publish(&stage, garbage).await;
            let mut newer = record(topic, event, &format!("{topic}-newer"), "7", b"{}".to_vec());
            newer.headers.push(Header::text("ce_schemaversion", "9"));
            let large = record(topic, event, &format!("{topic}-large"), "7", vec![b' '; 2 << 20]);
            publish(&stage, [newer, large]).await;
        }
        assert_eq!(stage.dead_letters().await, 0);
        // The order service keeps the instances and has a step; the other services have steps.
        assert_eq!([ignored(&stage, "order"), ignored(&stage, "inventory"), ignored(&stage, "payment")], [44.0, 22.0, 22.0]);
        for service in ["order", "inventory", "payment"] {
            assert_eq!(stage.pump.records(&format!("{service}.dlt")).await.len(), 0);
            let ids = own.iter().flat_map(|(topic, _)| ["0", "19", "newer", "large"].map(|id| format!("{topic}-{id}")));
            assert!(!leaves_rows(&stage, service, ids).await, "{service}");
        }
        stage.place(7, 2, 30).await;
        stage.pump.run_until_quiet().await;
        assert_eq!(stage.books().status(7), Some(Status::Confirmed));
    }
}

#[tokio::test]
async fn a_step_that_nobody_gave_up_calls_for_attention_at_most_where_it_is_open() {
    let stage = open(false).await;
    stage.shop.conduct.set(Point::Confirm, Act::Fail);
    stage.place(7, 2, 30).await;
    stage.pump.run_until_quiet().await;
    let before = stage.instance(7).await;
    let other_flow = StepGivenUp { saga: "AnotherApps".to_owned(), ..given_up("7", "TakePayment") };
    publish(
        &stage,
        [
            forged("1", "8", &given_up("8", "TakePayment")),
            forged("2", "7", &other_flow),
            forged("3", "7", &given_up("7", "NoStep")),
            forged("4", "8", &given_up("7", "TakePayment")),
            forged("5", "7", &StepGivenUp { error: "x".repeat(100_000), ..given_up("7", "TakePayment") }),
            forged("6", "7", &StepGivenUp { event: Some("NoEvent".to_owned()), ..given_up("7", "TakePayment") }),
        ],
    )
    .await;
    assert_eq!(stage.instance(7).await, before);
    assert_eq!(stage.sagas().find(PlaceOrder::NAME, "8").await.unwrap(), None);
    assert!(ignored(&stage, "order") >= 3.0);
    assert!(!leaves_rows(&stage, "order", ["2", "3", "4", "5", "6"].map(str::to_owned)).await);

    // Any number of messages: the history keeps some of them, and the instance one.
    let said = (0..400).map(|at| forged(&format!("s-{at}"), "7", &given_up("7", "ConfirmOrder")));
    publish(&stage, said).await;
    assert!(stage.history(7).await.len() < 250, "{}", stage.history(7).await.len());
    stage.shop.conduct.clear(Point::Confirm);
    for _ in 0..3 {
        stage.pump.advance(std::time::Duration::from_secs(2)).await;
    }
    assert_eq!(stage.books().status(7), Some(Status::Confirmed), "no saga is stopped by it");
}

#[tokio::test]
async fn a_dead_letter_is_tried_again_for_its_own_instance_only() {
    let stage = open(false).await;
    stage.shop.conduct.set(Point::Pay, Act::Fail);
    stage.place(7, 2, 30).await;
    until_attention(&stage, 7).await;
    let (letters, _) = stage.pump.service("payment").dead_letters(0, 10).await.unwrap();
    let calls = stage.shop.conduct.calls(Point::Pay);
    let retry = |service: &str, id: &str, letter: &str| RetryDeadLetter {
        id: id.to_owned(),
        service: service.to_owned(),
        dead_letter: letter.to_owned(),
    };
    let letter = letters[0].id.as_str();
    publish(
        &stage,
        [
            forged("1", "8", &retry("payment", "8", letter)),
            forged("2", "7", &retry("payment", "7", "none")),
            forged("3", "7", &retry("payment", "7", &"x".repeat(5_000))),
            forged("4", "7", &retry("another", "7", letter)),
        ],
    )
    .await;
    assert_eq!((stage.shop.conduct.calls(Point::Pay), ignored(&stage, "payment")), (calls, 3.0));
    assert_eq!(stage.dead_letters().await, 1);
    assert!(!leaves_rows(&stage, "payment", ["3", "4"].map(str::to_owned)).await);
    // The only possible effect is one that an operator can cause.
    publish(&stage, [forged("5", "7", &retry("payment", "7", letter))]).await;
    assert_eq!(stage.shop.conduct.calls(Point::Pay), calls + 1);
}
