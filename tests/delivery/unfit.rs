//! Invalid records: each is treated by the rules of the record format, and later records are handled.

use sagas::{Settings, message::Record, prelude::*, testing::Pump};
use serde::{Deserialize, Deserializer, Serialize};

use crate::support::*;

#[event(topic = "orders", key = order_id, version = 2)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Cancelled {
    order_id: String,
}

#[handler]
async fn cancel(On(cancelled): On<Cancelled>, State(plan): State<Plan>, meta: Meta) {
    plan.note(&Placed { order_id: cancelled.order_id, number: 900 }, &meta);
}

const GOOD: &[u8] = br#"{"order_id":"a","number":7}"#;

/// Publishes a bad record followed by a good one of the same key. Returns the reasons in the dead letter topic, and the numbers
/// handled.
async fn beside_a_good_one(database: Database, handlers: Vec<sagas::handler::Handler>, bad: Record) -> (Vec<String>, Vec<u32>) {
    let plan = Plan::done();
    let mut settings = Settings::default();
    settings.max_record_bytes = 1_000;
    let pump = Pump::of([service(&database, &plan).handlers(handlers).settings(settings)]).start().await;
    let (key, value) = (bad.key.clone(), bad.value.clone());
    pump.publish_record(bad).await;
    pump.publish_record(record(key.as_deref(), Some(GOOD), &[("ce_type", "Placed")])).await;
    pump.run_until_quiet().await;
    let letters = pump.records("payments.dlt").await;
    let kept = pump.service("payments").dead_letters(0, 10).await.unwrap().0;
    assert_eq!(kept.len(), letters.len());
    for (letter, kept) in letters.iter().zip(&kept) {
        assert_eq!((&letter.record.key, &letter.record.value), (&key, &value), "bytes and key are untouched");
        assert_eq!((&kept.received.record.key, &kept.received.record.value), (&key, &value));
        assert_eq!(kept.attempts, 0, "no handler saw it");
    }
    let reasons = letters.iter().map(|letter| letter.record.header("kafka_dlt-exception-fqcn").unwrap().to_owned()).collect();
    pump.stop().await;
    (reasons, plan.numbers("a"))
}

/// A test case: its name, the handlers, the record, the reasons of its dead letters, and the numbers that are handled.
type Case = (&'static str, Vec<sagas::handler::Handler>, Record, &'static [&'static str], &'static [u32]);

#[tokio::test]
async fn each_is_dead_lettered_skipped_or_handled() {
    let typed = [("ce_type", "Placed")];
    let newer = [("ce_type", "Placed"), ("ce_schemaversion", "2")];
    let older = [("ce_type", "Cancelled"), ("ce_schemaversion", "1")];
    let many = || handlers![bare, cancel].to_vec();
    let one = || handlers![bare].to_vec();
    let key = Some(&b"k"[..]);
    let large = format!(r#"{{"order_id":"a","number":1,"more":"{}"}}"#, "x".repeat(2_000));
    for kind in 0..2 {
        let table: Vec<Case> = vec![
            ("malformed JSON", many(), record(key, Some(b"{nonsense"), &typed), &["undecodable"], &[7]),
            ("no text at all", many(), record(key, Some(&[0xff, 0, 0xfe]), &typed), &["undecodable"], &[7]),
            ("wrong types", many(), record(key, Some(br#"{"order_id":1,"number":"x"}"#), &typed), &["undecodable"], &[7]),
            (
                "a number too large",
                many(),
                record(key, Some(br#"{"order_id":"a","number":99999999999}"#), &typed),
                &["undecodable"],
                &[7],
            ),
            ("no type, several handled", many(), record(key, Some(GOOD), &[]), &["no_type"], &[7]),
            ("no type, one handled", one(), record(key, Some(GOOD), &[]), &[], &[7, 7]),
            ("unknown type", many(), record(key, Some(GOOD), &[("ce_type", "Elsewhere")]), &[], &[7]),
            ("newer version", many(), record(key, Some(GOOD), &newer), &["newer_version"], &[7]),
            ("older version", many(), record(key, Some(br#"{"order_id":"a"}"#), &older), &[], &[900, 7]),
            ("too large", many(), record(key, Some(large.as_bytes()), &typed), &["too_large"], &[7]),
            ("null with a type", many(), record(key, None, &typed), &["no_value"], &[7]),
            ("null without a type", many(), record(key, None, &[]), &[], &[7]),
            ("a key that is no text", one(), record(Some(&[0xff, 0xfe]), Some(GOOD), &typed), &[], &[7, 7]),
            ("no key", one(), record(None, Some(GOOD), &typed), &[], &[7, 7]),
            ("an empty key", one(), record(Some(b""), Some(GOOD), &typed), &[], &[7, 7]),
        ];
        for (what, handlers, bad, reasons, numbers) in table {
            let database = if kind == 0 { Database::memory() } else { sqlite().await };
            assert_eq!(
                beside_a_good_one(database, handlers, bad).await,
                (reasons.iter().map(|reason| (*reason).to_owned()).collect(), numbers.to_vec()),
                "{what}"
            );
        }
    }
}

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, Serialize)]
struct Trapped {
    order_id: String,
}

impl<'de> Deserialize<'de> for Trapped {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a trap")
    }
}

#[handler]
async fn trap(On(_): On<Trapped>) {}

#[tokio::test]
async fn a_type_that_panics_while_it_is_read_is_a_dead_letter() {
    let plan = Plan::done();
    let pump = Pump::of([service(&Database::memory(), &plan).handlers(handlers![bare, trap])]).start().await;
    pump.publish(&Trapped { order_id: "a".to_owned() }).await;
    pump.publish(&placed("a", 1)).await;
    pump.run_until_quiet().await;
    assert_eq!(plan.numbers("a"), [1]);
    let letters = pump.service("payments").dead_letters(0, 10).await.unwrap().0;
    assert!(letters[0].error.contains("a trap"), "{}", letters[0].error);
}
