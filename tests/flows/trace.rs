//! The headers of every record of an order's saga.

use std::{collections::BTreeMap, sync::Arc};

use sagas::{message::Record, time::Timestamp};
use sagas_tests::{SERVICES, Shop, TOPICS, event_type, header, key, payload};
use serde_json::Value;
use uuid::Uuid;

/// Events that only a request causes.
const BEGINNINGS: [&str; 2] = ["OrderCreated", "OrderShipped"];

/// Checks every record of the order on every topic, and returns the names of the events by topic, in order.
pub(crate) async fn assert_traced(shop: &Shop, order_id: &str, correlation_id: &str) -> BTreeMap<&'static str, Vec<String>> {
    let mut by_topic = BTreeMap::new();
    let mut all = BTreeMap::new();
    for topic in TOPICS {
        let records = shop.records_of(topic, order_id).await;
        by_topic.insert(topic, records.iter().map(|record| event_type(record).to_owned()).collect());
        for record in records {
            assert_complete(&record, order_id, correlation_id);
            let id = header(&record, "ce_id").to_owned();
            assert!(all.insert(id.clone(), record).is_none(), "two records have the id {id}");
        }
    }
    for record in all.values() {
        assert_caused(record, &all);
    }
    assert_history_agrees(shop, order_id, correlation_id, &all).await;
    by_topic
}

fn assert_complete(record: &Record, order_id: &str, correlation_id: &str) {
    let name = event_type(record);
    assert_eq!(header(record, "ce_correlationid"), correlation_id, "{name}");
    assert_eq!(header(record, "ce_specversion"), "1.0", "{name}");
    assert_eq!(header(record, "ce_schemaversion"), "1", "{name}");
    assert_eq!(header(record, "ce_subject"), order_id, "{name}");
    assert_eq!(header(record, "content-type"), "application/json", "{name}");
    assert!(SERVICES.contains(&header(record, "ce_source")), "{name}: {}", header(record, "ce_source"));
    assert!(Uuid::parse_str(header(record, "ce_id")).is_ok(), "{name}");
    let time = header(record, "ce_time");
    assert_eq!(time.parse::<Timestamp>().unwrap().to_string(), time, "{name}: UTC with milliseconds");
    let parts: Vec<_> = header(record, "traceparent").split('-').map(str::len).collect();
    assert_eq!(parts, [2, 32, 16, 2], "{name}");
    assert_eq!(key(record), order_id, "{name}");
    assert_eq!(payload(record)["order_id"], order_id, "{name}");
}

/// Checks that a record names its cause and belongs to the same trace.
fn assert_caused(record: &Record, all: &BTreeMap<String, Arc<Record>>) {
    let name = event_type(record);
    let Some(cause) = record.header("ce_causationid") else {
        assert!(BEGINNINGS.contains(&name), "{name} does not say what led to it");
        return;
    };
    assert!(!BEGINNINGS.contains(&name), "{name} was led to by a request, not by {cause}");
    let cause = all.get(cause).unwrap_or_else(|| panic!("{name} was led to by {cause}, which is no record of the order"));
    assert_eq!(trace(record), trace(cause), "{name} and {}", event_type(cause));
    assert_ne!(header(record, "traceparent"), header(cause, "traceparent"), "{name} has a span of its own");
}

fn trace(record: &Record) -> &str {
    header(record, "traceparent").split('-').nth(1).unwrap()
}

/// Checks that the history contains the records that changed the order, each with its id.
async fn assert_history_agrees(shop: &Shop, order_id: &str, correlation_id: &str, all: &BTreeMap<String, Arc<Record>>) {
    let mut last = String::new();
    for event in shop.history(order_id).await {
        let record = all.get(event["eventId"].as_str().unwrap()).unwrap_or_else(|| panic!("no record: {event}"));
        assert_eq!(event["type"], event_type(record));
        assert_eq!(event["version"], 1);
        assert_eq!(event["correlationId"], correlation_id);
        assert_eq!(event["causationId"], record.header("ce_causationid").map_or(Value::Null, Into::into), "{event}");
        assert_eq!(event["data"], payload(record));
        let at = event["occurredAt"].as_str().unwrap().to_owned();
        assert!(last <= at, "{at} comes after {last}");
        last = at;
    }
}
