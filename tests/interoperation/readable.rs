//! Published records can be read by any Kafka consumer.

use sagas::{message::Record, port::transport::Transport, prelude::*, time::Clock};
use sagas_tests::{eventually, metric};
use serde::{Deserialize, Serialize};

use crate::console;

#[event(topic = "interop-orders", key = order_id, version = 3)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ordered {
    order_id: String,
    note: String,
    quantity: i64,
}

#[event(topic = "interop-invoices", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Invoiced {
    order_id: String,
}

#[handler]
async fn invoice(On(ordered): On<Ordered>) -> Result<Invoiced, Failure> {
    Ok(Invoiced { order_id: ordered.order_id })
}

#[event(topic = "interop-parts", key = part_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PartMade {
    part_id: String,
}

#[handler]
async fn note_part(On(_): On<PartMade>) -> Result<(), Failure> {
    Ok(())
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z')
}

/// Returns whether `text` has the form `00-<32 hexadecimal digits>-<16>-<2>`, with ids that are not all zeros.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    matches!(&parts[..], ["00", trace, span, flags]
        if digits(trace, 32) && digits(span, 16) && digits(flags, 2) && trace.bytes().any(|c| c != b'0'))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn the_console_consumer_shows_key_json_and_headers() {
    let kafka = console::fresh(&["interop-orders", "interop-invoices"]).await;
    let name = console::unique("interop-billing");
    let service = Service::new(name.clone(), Database::memory()).handlers(handlers![invoice]);
    let handle = App::new("interop").service(service).start(kafka).await.unwrap();

    let keys = ["bestellung-äöü-1", "o 2", "o-3", "o-4", "o-5"];
    let billing = handle.service(&name).unwrap();
    let mut work = billing.begin().await.unwrap();
    for (key, quantity) in keys.into_iter().zip(1..) {
        work.publish(&Ordered { order_id: key.to_owned(), note: "\"süß\", <b>&</b>".to_owned(), quantity }).unwrap();
    }
    work.commit().await.unwrap();

    let orders = console::consume("interop-orders", keys.len()).await;
    let invoices = console::consume("interop-invoices", keys.len()).await;
    handle.stop().await;

    for key in keys {
        let ordered = orders.iter().find(|record| record.key == key).unwrap_or_else(|| panic!("no {key} in {orders:#?}"));
        let value: serde_json::Value = serde_json::from_str(&ordered.value).unwrap();
        let quantity = keys.iter().position(|other| *other == key).unwrap() + 1;
        assert_eq!(value, serde_json::json!({ "order_id": key, "note": "\"süß\", <b>&</b>", "quantity": quantity }));

        let header = |name: &str| ordered.headers.get(name).map_or("", String::as_str);
        assert_eq!((header("ce_specversion"), header("ce_type"), header("ce_source")), ("1.0", "Ordered", name.as_str()));
        assert_eq!((header("ce_subject"), header("content-type")), (key, "application/json"));
        assert_eq!(header("ce_schemaversion"), "3");
        assert!(uuid::Uuid::parse_str(header("ce_id")).is_ok_and(|id| id.get_version_num() == 7), "{ordered:#?}");
        assert!(is_time(header("ce_time")) && is_traceparent(header("traceparent")), "{ordered:#?}");

        // The record that follows from it belongs to the same saga and trace.
        let invoiced = invoices.iter().find(|record| record.key == key).unwrap();
        let follows = |name: &str| invoiced.headers.get(name).map_or("", String::as_str);
        assert_eq!((follows("ce_type"), follows("ce_causationid")), ("Invoiced", header("ce_id")));
        assert_eq!(follows("ce_correlationid"), header("ce_correlationid"));
        assert_eq!(follows("traceparent").split('-').nth(1), header("traceparent").split('-').nth(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_service_shows_how_its_clients_are() {
    let kafka = console::fresh(&["interop-parts"]).await;
    let name = console::unique("interop-clients");
    let service = Service::new(name.clone(), Database::memory()).handlers(handlers![note_part]);
    let handle = App::new("interop").service(service).start(kafka).await.unwrap();
    let service = handle.service(&name).unwrap();
    let mut work = service.begin().await.unwrap();
    work.publish(&PartMade { part_id: "p".to_owned() }).unwrap();
    work.commit().await.unwrap();

    for client in ["client=\"consumer\"", "client=\"producer\""] {
        eventually(client, async || {
            let at_least_one = |series| metric(service, series, client) >= 1.0;
            (at_least_one("sagas_broker_up") && at_least_one("sagas_client_records_total")).then_some(())
        })
        .await;
    }
    assert!(metric(service, "sagas_broker_rtt_seconds", "") > 0.0);
    eventually("the lag of a partition that is read here", async || {
        service.metrics().render().contains("sagas_consumer_lag_records{").then_some(())
    })
    .await;
    handle.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_key_has_the_partition_that_javas_clients_give_it() {
    let kafka = console::fresh(&["interop-partitions"]).await;
    let keys: Vec<_> = (0..40).map(|number| format!("key-{number}-ä")).collect();
    let ours = keys.iter().map(|key| Record {
        topic: "interop-partitions".to_owned(),
        key: Some(key.clone().into()),
        value: Some("ours".into()),
        headers: vec![],
        timestamp: Clock::system().now().into(),
    });
    let stored = kafka.publish(ours.collect()).await;
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
    let theirs: String = keys.iter().map(|key| format!("{key}\ttheirs\n")).collect();
    console::produce("interop-partitions", &["parse.key=true"], &theirs).await;

    let records = console::consume("interop-partitions", 2 * keys.len()).await;
    kafka.close().await;
    for key in &keys {
        let of = |value: &str| {
            records.iter().find(|record| record.key == *key && record.value == value).map(|record| record.partition)
        };
        assert!(of("ours").is_some(), "{key}");
        assert_eq!(of("ours"), of("theirs"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_start_says_which_cluster_it_is() {
    let kafka = console::fresh(&[]).await;
    let about = kafka.about().await.unwrap();
    let said = format!("Apache Kafka at {}, cluster `", console::brokers());
    let cluster = about.strip_prefix(&said).and_then(|rest| rest.split_once("`, by librdkafka ")).map(|(cluster, _)| cluster);
    assert!(cluster.is_some_and(|cluster| !cluster.is_empty() && cluster != "unknown"), "{about}");
    kafka.close().await;
}
