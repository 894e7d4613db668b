//! Records that are not events of this framework, taken as they are, and events in another format than JSON.

use std::time::Duration;

use sagas::{
    Fault,
    message::{Decode, Encode, Header, Raw, Record},
    prelude::*,
    testing::Pump,
};

use crate::support::*;

/// Records the length of the value and the header `kind`.
#[handler(topic = "orders", retry(max = 2, backoff = "1s..1s"))]
async fn left(On(record): On<Raw>, meta: Meta, State(plan): State<Plan>) -> Result<Charged, Failure> {
    let number = record.value.as_ref().map_or(999, |value| value.len() as u32);
    plan.note(&placed(record.header("kind").unwrap_or("none"), number), &meta);
    if record.header("kind") == Some("bad") {
        record.json::<Placed>()?;
    }
    Ok(Charged { order_id: meta.key.as_deref().unwrap_or_default().to_owned(), number })
}

fn sent(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &str)]) -> Record {
    record(key, value, headers)
}

#[tokio::test]
async fn what_no_other_handler_takes_is_taken_as_it_is() {
    for database in databases().await {
        let plan = Plan::done();
        let pump = Pump::of([service(&database, &plan).handlers(handlers![bare, left])]).start().await;
        pump.publish(&placed("a", 7)).await;
        pump.publish_record(sent(Some(b"k"), Some(&[0, 0xff, 1]), &[("kind", "bytes")])).await;
        pump.publish_record(sent(Some(b"k"), Some(b"<order/>"), &[("kind", "xml"), ("ce_type", "Elsewhere")])).await;
        pump.publish_record(sent(Some(b"k"), None, &[("kind", "tombstone")])).await;
        let mut broken = sent(Some(b"k"), Some(b"1234"), &[("kind", "broken")]);
        broken.headers.push(Header { name: "ce_type".to_owned(), value: Some(vec![0xff].into()) });
        pump.publish_record(broken).await;
        pump.publish_record(sent(None, Some(b"12345"), &[("kind", "keyless")])).await;
        pump.run_until_quiet().await;
        for (kind, number) in [("a", 7), ("bytes", 3), ("xml", 8), ("tombstone", 999), ("broken", 4), ("keyless", 5)] {
            assert_eq!(plan.numbers(kind), [number], "{kind}");
        }
        let charged: Vec<_> = pump.published::<Charged>().await.into_iter().filter(|charged| charged.order_id == "k").collect();
        assert_eq!(charged.iter().map(|charged| charged.number).collect::<Vec<_>>(), [3, 8, 999, 4], "in order, once each");
        assert_eq!(pump.service("payments").dead_letters(0, 1).await.unwrap().1, 0);
        pump.stop().await;
    }
}

#[tokio::test]
async fn one_that_its_handler_cannot_read_is_retried_and_then_a_dead_letter() {
    let plan = Plan::done();
    let pump = Pump::of([service(&Database::memory(), &plan).handlers(handlers![left])]).start().await;
    let value = br#"{"order_id":"a","number":"\u00fc"}"#;
    pump.publish_record(sent(Some(b"k"), Some(value), &[("kind", "bad")])).await;
    pump.run_until_quiet().await;
    pump.advance(Duration::from_secs(1)).await;
    assert_eq!(plan.calls().len(), 2);
    let [letter] = &pump.service("payments").dead_letters(0, 10).await.unwrap().0[..] else { panic!("one letter") };
    assert!(letter.error.contains("support::Placed`: field `number`: invalid type"), "{}", letter.error);
    assert_eq!(letter.received.record.value.as_deref(), Some(&value[..]));
    pump.stop().await;
}

/// An event of two bytes: an order and a number.
#[event(topic = "orders", key = order_id, codec = Packed, name = "Scanned")]
#[derive(Debug, Clone, PartialEq)]
struct Scanned {
    order_id: u8,
    number: u8,
}

struct Packed;

impl Encode<Scanned> for Packed {
    const CONTENT_TYPE: &'static str = "application/vnd.example.packed";

    fn encode(scanned: &Scanned) -> Result<Vec<u8>, Fault> {
        Ok(vec![scanned.order_id, scanned.number])
    }
}

impl Decode<Scanned> for Packed {
    fn decode(value: &[u8]) -> Result<Scanned, Fault> {
        let [order_id, number] = value.try_into().map_err(|_| Fault::new(format!("{} bytes", value.len())))?;
        Ok(Scanned { order_id, number })
    }
}

#[event(topic = "copies", key = order_id, codec = Packed)]
#[derive(Debug, Clone, PartialEq)]
struct Copied {
    order_id: u8,
}

impl Encode<Copied> for Packed {
    const CONTENT_TYPE: &'static str = "application/vnd.example.packed";

    fn encode(copied: &Copied) -> Result<Vec<u8>, Fault> {
        Ok(vec![0xff, copied.order_id])
    }
}

impl Decode<Copied> for Packed {
    fn decode(value: &[u8]) -> Result<Copied, Fault> {
        value.get(1).map(|order_id| Copied { order_id: *order_id }).ok_or_else(|| Fault::new("cut off"))
    }
}

#[handler(retry(max = 2, backoff = "1s..1s"))]
async fn scanned(On(scanned): On<Scanned>, meta: Meta, State(plan): State<Plan>) -> Result<Copied, Failure> {
    plan.note(&placed(&scanned.order_id.to_string(), scanned.number.into()), &meta);
    // The first attempt fails, so that the message is parked, which keeps its bytes unchanged.
    if meta.attempt == 1 { Err(Failure::retry("once")) } else { Ok(Copied { order_id: scanned.order_id }) }
}

#[tokio::test]
async fn an_event_of_another_form_is_kept_parked_and_published_as_its_bytes() {
    for database in databases().await {
        let plan = Plan::done();
        let pump = Pump::of([service(&database, &plan).handlers(handlers![scanned])]).start().await;
        pump.publish(&Scanned { order_id: 250, number: 0xff }).await;
        pump.publish_record(sent(Some(b"9"), Some(&[1, 2, 0xff]), &[("ce_type", "Scanned"), ("ce_source", "till")])).await;
        pump.run_until_quiet().await;
        pump.advance(Duration::from_secs(1)).await;
        assert_eq!(plan.numbers("250"), [255, 255]);
        assert_eq!(pump.published::<Copied>().await, [Copied { order_id: 250 }]);
        let copy = &pump.records("copies").await[0].record;
        assert_eq!(
            (copy.value.as_deref(), copy.header("content-type")),
            (Some(&[0xff, 250][..]), Some("application/vnd.example.packed"))
        );
        let [letter] = &pump.service("payments").dead_letters(0, 10).await.unwrap().0[..] else { panic!("one letter") };
        assert_eq!(letter.error, "the value is no Scanned of version 1: 3 bytes; it was published by `till`");
        assert_eq!(letter.received.record.value.as_deref(), Some(&[1, 2, 0xff][..]));
        pump.stop().await;
    }
}
