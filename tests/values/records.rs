//! Records as any producer could publish them.

use proptest::{collection::vec, option, prelude::*, sample::select};
use sagas::{
    message::{Header, Record},
    time::LogTime,
};

/// Names of headers, some of which have a meaning here.
const NAMES: &[&str] = &[
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_specversion",
    "ce_schemaversion",
    "ce_correlationid",
    "ce_causationid",
    "ce_sagaid",
    "traceparent",
    "tracestate",
    "kafka_dlt-original-topic",
    "x-é",
    "",
];

/// Arbitrary bytes, or a text that resembles the value of some header.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        "[0-9a-z-]{1,12}",
        "[1-9]{1,2}x?",
        "(0000|1969|2026|2099|9999)-(01|12)-(01|31)T(00|23):59:59(Z|[+-]23:59)",
        "(00|01|ff)-[0-9a-f]{32}-[0-9a-f]{15,16}-0[01](-x)?",
        "[a-z]{1,3}=[a-z ]{1,3}(,[a-z]{1,3}=[a-z]{0,3})?",
        "[\u{0}-\u{9f}]{1,8}",
        "x{990,1100}",
    ];
    prop_oneof![3 => text.prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..40)]
}

pub(crate) fn headers() -> impl Strategy<Value = Vec<Header>> {
    let header = (select(NAMES), option::weighted(0.9, bytes()));
    let header = header.prop_map(|(name, value)| Header { name: name.to_owned(), value: value.map(Into::into) }).boxed();
    prop_oneof![20 => vec(header.clone(), 0..6), 1 => vec(header, 1_000..1_200)]
}

pub(crate) fn timestamps() -> impl Strategy<Value = LogTime> {
    prop_oneof![
        Just(-1),
        Just(0),
        Just(i64::MIN),
        Just(i64::MAX),
        Just(1_767_225_600_000_000),
        any::<i64>(),
        0..1_800_000_000_000_i64
    ]
    .prop_map(LogTime::from_millis)
}

pub(crate) fn keys() -> impl Strategy<Value = Option<Vec<u8>>> {
    let key = prop_oneof![20 => bytes(), 4 => Just(Vec::new()), 1 => (0_u8..3).prop_map(|byte| vec![byte; 1_000_000])];
    option::weighted(0.9, key)
}

/// A record of `topic`, with one of these types or any type, and one of these values or any value.
pub(crate) fn record(
    topic: &'static str,
    types: &'static [&'static str],
    values: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Record> {
    let deep = (100_usize..300).prop_map(|depth| [vec![b'['; depth], vec![b']'; depth]].concat());
    let value = prop_oneof![6 => values, 2 => bytes(), 1 => deep];
    (keys(), option::weighted(0.95, value), headers(), option::weighted(0.9, select(types)), timestamps()).prop_map(
        move |(key, value, mut headers, r#type, timestamp)| {
            headers.extend(r#type.map(|r#type| Header::text("ce_type", r#type)));
            Record { topic: topic.to_owned(), key: key.map(Into::into), value: value.map(Into::into), headers, timestamp }
        },
    )
}
