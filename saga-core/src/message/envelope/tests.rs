use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{id::IdSource, message::Wrong, time::LogTime};

/// The local clock: 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn received(headers: Vec<Header>, timestamp: i64) -> Received {
    let timestamp = LogTime::from_millis(timestamp);
    let record = Record { topic: "orders".into(), key: None, value: None, headers, timestamp };
    Received { record: Arc::new(record), partition: 2, offset: 7 }
}

fn with(headers: &[(&str, &[u8])]) -> Received {
    let header = |(name, value): &(&str, &[u8])| Header { name: (*name).into(), value: Some(Bytes::copy_from_slice(value)) };
    received(headers.iter().map(header).collect(), NOW.as_millis())
}

#[test]
fn an_empty_key_is_no_subject() {
    let record = |key: &str| {
        let event = Outgoing {
            name: "Placed",
            topic: "orders",
            version: 1,
            key: key.to_owned(),
            value: Bytes::new(),
            content_type: "application/json",
            id: None,
        };
        let context = Context::root("c", TraceContext::root(&IdSource::seeded(1)));
        event.into_record(&MessageId::new("m"), "shop", NOW, &context)
    };
    assert_eq!(record("7").header(headers::SUBJECT), Some("7"));
    let record = record("");
    assert_eq!((record.header(headers::SUBJECT), record.key.as_deref()), (None, Some(&b""[..])));
}

#[test]
fn a_time_that_cannot_be_is_not_believed() {
    let (sane, at) = (NOW.as_millis() - 5, |text: &str| text.parse().unwrap_or(NOW));
    for (stated, recorded, expected) in [
        (Some("2025-12-31T23:00:00Z"), sane, at("2025-12-31T23:00:00Z")),
        (Some("2026-01-01T00:59:59Z"), sane, at("2026-01-01T00:59:59Z")),
        (Some("2026-01-01T01:00:01Z"), sane, Timestamp::from_millis(sane)),
        (Some("2099-01-01T00:00:00Z"), sane, Timestamp::from_millis(sane)),
        (Some("9999-12-31T23:59:59-23:59"), sane, Timestamp::from_millis(sane)),
        (Some("0000-01-01T00:00:00+23:59"), sane, Timestamp::from_millis(sane)),
        (Some("1969-12-31T23:59:59Z"), sane, Timestamp::from_millis(sane)),
        (Some("yesterday"), sane, Timestamp::from_millis(sane)),
        (Some(""), sane, Timestamp::from_millis(sane)),
        (None, sane, Timestamp::from_millis(sane)),
        // Microseconds, no timestamp, and out of range.
        (None, NOW.as_millis() * 1_000, NOW),
        (None, -1, NOW),
        (None, i64::MIN, NOW),
        (None, i64::MAX, NOW),
        (Some("9999-12-31T23:59:59-23:59"), i64::MAX, NOW),
    ] {
        let headers = stated.map(|stated| Header::text(headers::TIME, stated)).into_iter().collect();
        let envelope = Envelope::of(&received(headers, recorded), NOW).map(|envelope| envelope.time);
        assert_eq!(envelope, Ok(expected), "{stated:?} {recorded}");
    }
}

#[test]
fn a_header_is_taken_as_it_is_or_refused_by_name() {
    let (longest, longer) = ("x".repeat(headers::MAX_ID), "x".repeat(headers::MAX_ID + 1));
    for name in [headers::ID, headers::SOURCE, headers::CORRELATION_ID, headers::CAUSATION_ID, headers::SAGA_ID, headers::TYPE] {
        let wrong = |value: &[u8]| Envelope::of(&with(&[(name, value)]), NOW).err();
        let bad = |wrong| Some(BadHeader { header: name, wrong });
        for good in [longest.as_bytes(), b"a b/c:d", "é茶".as_bytes(), b""] {
            assert_eq!(wrong(good), None, "{name}");
        }
        let length = headers::MAX_ID + 1;
        assert_eq!(wrong(longer.as_bytes()), bad(Wrong::TooLong { length, limit: headers::MAX_ID }));
        assert_eq!(wrong(b"\xff\xfe"), bad(Wrong::NotUtf8));
        assert_eq!(wrong(b"a\0b"), bad(Wrong::Control(0)));
        assert_eq!(wrong(b"a\x1b[2J"), bad(Wrong::Control(0x1b)));
        assert_eq!(wrong("a\u{9b}".as_bytes()), bad(Wrong::Control(0x9b)));
    }
    let last = with(&[(headers::ID, b"first"), (headers::ID, b"last")]);
    assert_eq!(Envelope::of(&last, NOW).map(|envelope| envelope.id), Ok(MessageId::new("last")));
}

#[test]
fn a_version_is_a_number_from_1_or_refused() {
    let version = |text: &[u8]| Envelope::of(&with(&[(headers::SCHEMA_VERSION, text)]), NOW).map(|envelope| envelope.version);
    for (text, expected) in [("", 1), ("1", 1), ("007", 7), ("4294967295", u32::MAX)] {
        assert_eq!(version(text.as_bytes()), Ok(expected), "{text}");
    }
    for text in ["2x", "0", "-1", "+1", " 1", "1.0", "4294967296", "99999999999999999999", "v2", "٢"] {
        let wrong = Wrong::NoVersion(text.into());
        assert_eq!(version(text.as_bytes()), Err(BadHeader { header: headers::SCHEMA_VERSION, wrong }), "{text}");
    }
}

#[test]
fn a_trace_that_is_not_valid_is_restarted_without_its_state() {
    let parent: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let other: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01";
    let ids = IdSource::seeded(1);
    let follows = |headers: &[(&str, &[u8])]| {
        let envelope = Envelope::of(&with(headers), NOW).ok();
        let context = envelope.map(|envelope| Context::caused_by(&envelope, TraceContext::follow(envelope.trace.as_ref(), &ids)));
        let trace = context.map(|context| context.trace);
        let kept = trace.as_ref().is_some_and(|trace| trace.traceparent().contains("4bf92f3577b34da6a3ce929d0e0e4736"));
        (kept, trace.and_then(|trace| trace.tracestate().map(str::to_owned)))
    };
    let state = |text: &str| Some(text.to_owned());
    assert_eq!(follows(&[("traceparent", parent), ("tracestate", b"a=1")]), (true, state("a=1")));
    assert_eq!(follows(&[("traceparent", parent), ("tracestate", b"a=1"), ("tracestate", b"b=2")]), (true, state("a=1,b=2")));
    assert_eq!(follows(&[("traceparent", parent), ("tracestate", b"a=1"), ("tracestate", b"\xff")]), (true, None));
    assert_eq!(follows(&[("traceparent", parent), ("traceparent", other), ("tracestate", b"a=1")]), (false, None));
    assert_eq!(follows(&[("traceparent", b"00-0-0-0"), ("tracestate", b"a=1")]), (false, None));
    assert_eq!(follows(&[("traceparent", b"\xff"), ("tracestate", b"a=1")]), (false, None));
    assert_eq!(follows(&[("tracestate", b"a=1")]), (false, None));
}

proptest! {
    /// For any headers and timestamp, the envelope is within its limits, and the events that it causes can be parsed again.
    #[test]
    fn what_follows_from_any_record_can_be_read_again(
        raw in vec((prop::sample::select(NAMES), option::of(prop_oneof![vec(any::<u8>(), 0..40), text()])), 0..12),
        timestamp in any::<i64>(),
        now in 0..Timestamp::MAX.as_millis(),
    ) {
        let now = Timestamp::from_millis(now);
        let headers = raw.into_iter().map(|(name, value)| Header { name: name.into(), value: value.map(Bytes::from) }).collect();
        let received = received(headers, timestamp);
        let envelope = Envelope::of(&received, now).unwrap_or_else(|_| Envelope::by_position(&received, now));
        prop_assert!((Timestamp::from_millis(0)..=now.after(MAX_AHEAD)).contains(&envelope.time));

        let trace = TraceContext::follow(envelope.trace.as_ref(), &IdSource::seeded(1));
        let context = Context::caused_by(&envelope, trace);
        prop_assert_eq!(context.unreadable(), None);
        let outgoing = Outgoing { name: "N", topic: "t", version: 3, key: "k".into(), value: Bytes::new(), content_type: "application/json", id: None };
        let record = outgoing.into_record(&MessageId::new("m"), "service", now, &context);
        let again = Envelope::of(&Received { record: Arc::new(record), partition: 0, offset: 0 }, now);
        let again = again.map_err(|bad| TestCaseError::fail(bad.to_string()))?;
        prop_assert_eq!((again.version, again.time), (3, now));
        prop_assert_eq!(again.correlation_id, envelope.correlation_id);
        prop_assert_eq!(again.causation_id, Some(envelope.id.to_string()));
        prop_assert_eq!(again.saga_id, envelope.saga_id);
        prop_assert_eq!(again.trace, Some(context.trace));
    }
}

const NAMES: &[&str] = &[
    headers::ID,
    headers::SOURCE,
    headers::TYPE,
    headers::TIME,
    headers::CORRELATION_ID,
    headers::CAUSATION_ID,
    headers::SAGA_ID,
    headers::SCHEMA_VERSION,
    headers::TRACEPARENT,
    headers::TRACESTATE,
];

/// Values close to the limits of the headers.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[0-9]{1,12}",
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:00:00(Z|[+-][0-2][0-9]:59)",
        "(00|01|ff)-[0-9a-fA-F]{32}-[0-9a-f]{15,16}-0[0-9](-x)?",
        "[a-z]{1,3}=[a-z ]{1,3}(,[a-z]{1,3}=[a-z]{0,3})?",
        ".{0,1100}",
    ]
    .prop_map(String::into_bytes)
}
