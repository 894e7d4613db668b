//! Records of producers that do not use this framework.

use std::sync::{Arc, Mutex};

use sagas::prelude::*;
use sagas_tests::{eventually, metric};
use serde::{Deserialize, Serialize};

use crate::console;

#[event(topic = "interop-payments", key = payment_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Paid {
    payment_id: String,
    cents: i64,
}

#[event(topic = "interop-parcels", key = parcel_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sent {
    parcel_id: String,
}

#[event(topic = "interop-parcels", key = parcel_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Delivered {
    parcel_id: String,
}

/// A call of a handler: the type, the key, and the origin of the message.
type Call = (&'static str, String, String);

#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Vec<Call>>>);

impl Seen {
    fn note(&self, event: &'static str, key: &str, meta: &Meta) {
        self.0.lock().unwrap().push((event, key.to_owned(), meta.envelope.source.clone()));
    }

    fn sorted(&self) -> Vec<Call> {
        let mut seen = self.0.lock().unwrap().clone();
        seen.sort();
        seen
    }
}

#[handler]
async fn paid(On(paid): On<Paid>, meta: Meta, State(seen): State<Seen>) -> Result<(), Failure> {
    seen.note("Paid", &format!("{}:{}", paid.payment_id, paid.cents), &meta);
    Ok(())
}

#[event(topic = "interop-refunds", key = payment_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Refunded {
    payment_id: String,
}

#[handler]
async fn refunded(On(_): On<Refunded>) -> Result<(), Failure> {
    Ok(())
}

#[handler]
async fn sent(On(sent): On<Sent>, meta: Meta, State(seen): State<Seen>) -> Result<(), Failure> {
    seen.note("Sent", &sent.parcel_id, &meta);
    Ok(())
}

#[handler]
async fn delivered(On(delivered): On<Delivered>, meta: Meta, State(seen): State<Seen>) -> Result<(), Failure> {
    seen.note("Delivered", &delivered.parcel_id, &meta);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn each_is_handled_passed_over_or_a_dead_letter() {
    let kafka = console::fresh(&["interop-payments", "interop-parcels"]).await;
    // The topic has one event, so no header is needed.
    console::produce(
        "interop-payments",
        &["parse.key=true", "null.marker=NULL"],
        "p-1\t{\"payment_id\":\"p-1\",\"cents\":250,\"bank\":\"more than we asked for\"}\n\
         NULL\t{\"payment_id\":\"p-2\",\"cents\":1}\n\
         p-3\tNULL\n\
         p-4\tno JSON\n\
         p-5\t{\"payment_id\":\"p-5\"}\n",
    )
    .await;
    // The topic has several events, so the type header decides.
    console::produce(
        "interop-parcels",
        &["parse.key=true", "parse.headers=true", "null.marker=NULL"],
        "ce_type:Sent,ce_source:warehouse,ce_id:1\tc-1\t{\"parcel_id\":\"c-1\"}\n\
         ce_type:Delivered,ce_source:carrier\tc-1\t{\"parcel_id\":\"c-1\"}\n\
         ce_type:Sent,ce_source:warehouse,ce_id:1\tc-1\t{\"parcel_id\":\"c-1\"}\n\
         ce_type:Weighed\tc-1\t{\"grams\":100}\n\
         x-request-id:7\tc-2\t{\"parcel_id\":\"c-2\"}\n\
         ce_type:Sent\tc-3\tNULL\n\
         NULL\tc-4\tNULL\n",
    )
    .await;

    let seen = Seen::default();
    let name = console::unique("interop-foreign");
    let service = Service::new(name.clone(), Database::memory()).handlers(handlers![paid, sent, delivered]).state(seen.clone());
    let handle = App::new("interop").service(service).start(kafka).await.unwrap();
    let service = handle.service(&name).unwrap();

    let at = |event, key: &str, source: &str| (event, key.to_owned(), source.to_owned());
    let expected = [
        at("Delivered", "c-1", "carrier"),
        at("Paid", "p-1:250", "interop-payments"),
        at("Paid", "p-2:1", "interop-payments"),
        // The second record is a copy of the first.
        at("Sent", "c-1", "warehouse"),
    ];
    eventually("every record to be dealt with", async || {
        let done = seen.sorted().len() >= expected.len()
            && metric(service, "sagas_skipped_total", "") >= 3.0
            && metric(service, "sagas_dead_letters_total", "") >= 4.0
            && metric(service, "sagas_deliveries_total", "outcome=\"duplicate\"") >= 1.0;
        done.then_some(())
    })
    .await;
    assert_eq!(seen.sorted(), expected);
    for (series, label, count) in [
        ("sagas_skipped_total", "topic=\"interop-payments\",reason=\"tombstone\"", 1.0),
        ("sagas_skipped_total", "topic=\"interop-parcels\",reason=\"tombstone\"", 1.0),
        ("sagas_skipped_total", "reason=\"unknown_type\"", 1.0),
        ("sagas_dead_letters_total", "reason=\"undecodable\"", 2.0),
        ("sagas_dead_letters_total", "reason=\"untyped\"", 1.0),
        ("sagas_dead_letters_total", "reason=\"no_value\"", 1.0),
    ] {
        assert_eq!(metric(service, series, label), count, "{series} {label}");
    }
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_dead_letter_keeps_bytes_key_and_headers() {
    let kafka = console::fresh(&["interop-refunds"]).await;
    console::produce("interop-refunds", &["parse.key=true", "parse.headers=true"], "x-bank:42\tp-9\tnot JSON\n").await;
    let name = console::unique("interop-dead");
    let service = Service::new(name.clone(), Database::memory()).handlers(handlers![refunded]);
    let handle = App::new("interop").service(service).start(kafka).await.unwrap();
    let dead = console::print(&format!("{name}.dlt"), 1).await;
    handle.stop().await;
    for part in [
        "x-bank:42\u{1f}",
        "kafka_dlt-original-topic:interop-refunds\u{1f}",
        &format!("consumer-group:{name}\u{1f}"),
        "\tp-9\tnot JSON\n",
    ] {
        assert!(dead.contains(part), "no {part:?} in {dead:?}");
    }
}
