//! Records with other schemas are decoded, records that cannot be decoded yet wait, and records that never can become dead
//! letters.

mod support;

use std::{sync::Arc, time::Duration};

use encodings::*;
use sagas::{
    message::{Event, Header, Record},
    prelude::*,
    schema::{HasSchema, HttpRegistry, Registered, RegistryError, Schema, SchemaKind, SchemaRegistry},
    testing::Pump,
    time::LogTime,
};

/// The schema of an order before it had a note.
const BEFORE: Schema = Schema::new(
    SchemaKind::Avro,
    r#"{
        "type": "record", "name": "OrderCreated", "namespace": "shop", "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "cents", "type": "long"}
        ]
    }"#,
);

fn record<E: Event>(key: &str, value: Vec<u8>) -> Record {
    Record {
        topic: E::TOPIC.to_owned(),
        key: Some(key.to_owned().into()),
        value: Some(value.into()),
        headers: vec![Header::text("ce_type", E::NAME), Header::text("ce_source", "a Java service")],
        timestamp: LogTime::from_millis(1_767_225_600_000),
    }
}

#[tokio::test]
async fn events_of_avro_and_protobuf_are_written_and_read_with_a_registry() {
    let registry = HttpRegistry::new(&support::registry().await).unwrap();
    let unregistered = registry.look_up("nothing-here", BEFORE).await;
    assert!(matches!(unregistered, Err(RegistryError::Missing(_))), "{unregistered:?}");
    let before = registry.register(&Ours::subject(OrderCreated::TOPIC, OrderCreated::NAME), BEFORE).await.unwrap();
    let order = SCHEMAS.register::<OrderCreated, Ours>(&registry).await.unwrap();
    let paid = SCHEMAS.register::<Paid, Ours>(&registry).await.unwrap();
    assert_eq!(SCHEMAS.look_up::<OrderCreated, Ours>(&registry).await.unwrap(), order);
    assert_ne!(before, order);
    assert_eq!(registry.schema(order).await.unwrap().kind, "AVRO");
    assert_eq!(registry.schema(paid).await.unwrap().kind, "PROTOBUF");

    let seen = Seen::default();
    let pump = Pump::of([archive(Database::memory(), seen.clone(), Arc::new(registry))]).start().await;
    let created = OrderCreated { order_id: "a".to_owned(), cents: 1250, note: Some("fragile".to_owned()) };
    pump.publish(&created).await;
    pump.publish(&Paid { order_id: "a".to_owned(), cents: 1250 }).await;
    pump.run_until_quiet().await;
    let sent = &pump.records("orders").await[0].record;
    assert_eq!(sent.header("content-type"), Some("avro/binary"));
    // The id, then Avro: lengths and numbers in zigzag, and the branch of the union.
    let avro = [&[0][..], &order.to_be_bytes(), b"\x02a", &[0xc4, 0x13], b"\x02\x0efragile"].concat();
    assert_eq!(sent.value.as_deref(), Some(&avro[..]));
    let sent = &pump.records("payments").await[0].record;
    let protobuf = [&[0][..], &paid.to_be_bytes(), &[0], b"\x0a\x01a", &[0x10, 0xe2, 0x09]].concat();
    assert_eq!(sent.value.as_deref(), Some(&protobuf[..]));
    let mut done = seen.0.lock().unwrap().clone();
    done.sort();
    assert_eq!(done, ["a 1250", "a 1250 Some(\"fragile\")"]);

    // With the earlier schema, which is not known here: it waits until it is known, and so do later messages of its key.
    let old = [&[0][..], &before.to_be_bytes(), b"\x02b", &[0x02]].concat();
    pump.publish_record(record::<OrderCreated>("b", old)).await;
    pump.publish(&OrderCreated { order_id: "b".to_owned(), cents: 2, note: None }).await;
    // With an unknown schema id, and in another format.
    pump.publish_record(record::<OrderCreated>("c", [&[0][..], &u32::MAX.to_be_bytes()[..], b"\x02c"].concat())).await;
    pump.publish_record(record::<Paid>("d", b"{}".to_vec())).await;
    let archive = pump.service("archive");
    let settled = async {
        while archive.dead_letters(0, 10).await.unwrap().1 < 2 || seen.0.lock().unwrap().len() < 4 {
            pump.advance(Duration::from_secs(1)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.expect("within a minute");
    assert_eq!(seen.0.lock().unwrap()[2..], ["b 1 None", "b 2 None"]);
    let mut errors: Vec<_> = archive.dead_letters(0, 10).await.unwrap().0.into_iter().map(|letter| letter.error).collect();
    errors.sort();
    assert_eq!(
        errors,
        [
            "the value is no OrderCreated of version 1: the schema registry has no schema 4294967295; it was published by `a Java service`",
            "the value is no Paid of version 1: the value does not begin with a zero byte and the four bytes of a schema's id; was it written by \
             a serializer with a registry?; it was published by `a Java service`",
        ]
    );
    let archived = pump.published::<Archived>().await;
    assert_eq!(archived.len(), 4);
    assert!(archived.contains(&Archived { order_id: "b".to_owned(), what: "order".to_owned() }));
    pump.stop().await;
}

/// A schema that is not registered yet is not an error of the program: the error names the call to make.
#[test]
fn an_event_whose_schema_was_not_registered_is_not_written() {
    #[event(topic = "orders", key = order_id, codec = sagas::schema::Avro<Ours>)]
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Unregistered {
        order_id: String,
    }
    impl HasSchema for Unregistered {
        const SCHEMA: Schema = Schema::new(SchemaKind::Avro, r#"{"type": "record", "name": "Unregistered", "fields": []}"#);
    }
    let refused = sagas::message::Outgoing::of(&Unregistered { order_id: "a".to_owned() }).unwrap_err().to_string();
    assert!(refused.contains("Unregistered` has no id: call `Schemas::register`"), "{refused}");
}
