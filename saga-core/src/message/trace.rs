//! W3C Trace Context: the trace that a message or a request belongs to, received from outside and propagated.
//!
//! As the recommendation requires, an invalid `traceparent` starts a new trace, and a `tracestate` counts only with a valid `traceparent`.

use std::{fmt::Write, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::IdSource;

/// The most characters of a `tracestate` that are propagated.
const MAX_STATE: usize = 512;
/// The most members of a valid `tracestate`.
const MAX_MEMBERS: usize = 32;
/// The length beyond which members are removed first when a `tracestate` is too long.
const LONG_MEMBER: usize = 128;
/// The flags that version 00 defines: sampled, and random trace id.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// A span of a trace (W3C Trace Context).
///
/// ```
/// # use saga_core::{id::IdSource, message::TraceContext};
/// let parent = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=1").unwrap();
/// let child = parent.child(&IdSource::seeded(1));
/// assert_eq!(child.traceparent()[..36], parent.traceparent()[..36]);
/// assert_ne!(child.traceparent(), parent.traceparent());
/// assert_eq!(child.tracestate(), Some("vendor=1"));
/// ```
///
/// It serializes to one string: the `traceparent` and, after a space, the `tracestate` if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// Creates the first span of a new trace, sampled.
    pub fn root(ids: &IdSource) -> Self {
        Self { trace_id: ids.trace_id(), span_id: ids.span_id(), flags: SAMPLED, state: None }
    }

    /// Creates the first span, sampled, for a message without a trace context. The trace id is derived from the message id, so all
    /// deliveries of the message, in all services, belong to the same trace.
    pub(crate) fn of_message(source: &str, id: &str, ids: &IdSource) -> Self {
        // FNV-1a of 128 bits (draft-eastlake-fnv): the same in each service, whichever version of the compiler or the framework built it.
        let bytes = source.bytes().chain([0]).chain(id.bytes());
        let hash = bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
        });
        let trace_id = hash.max(1);
        Self { trace_id, ..Self::root(ids) }
    }

    /// Parses the two headers; `None` if the `traceparent` is not valid.
    ///
    /// Join several `tracestate` headers with commas. An invalid `tracestate` is ignored.
    pub fn parse(traceparent: &str, tracestate: &str) -> Option<Self> {
        let text = traceparent.trim_matches([' ', '\t']);
        let (version, rest) = hexadecimal(text, 2)?;
        let (trace_id, rest) = hexadecimal(rest.strip_prefix('-')?, 32)?;
        let (span_id, rest) = hexadecimal(rest.strip_prefix('-')?, 16)?;
        let (flags, rest) = hexadecimal(rest.strip_prefix('-')?, 2)?;
        // A later version may have more fields after these four.
        let complete = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        if version == 0xff || !complete || trace_id == 0 || span_id == 0 {
            return None;
        }
        let (span_id, flags) = (u64::try_from(span_id).ok()?, u8::try_from(flags).ok()?);
        // Of a later version, only the flag `sampled` is known.
        let flags = flags & if version == 0 { KNOWN_FLAGS } else { SAMPLED };
        Some(Self { trace_id, span_id, flags, state: state(tracestate) })
    }

    /// Creates a new span in the trace of `parent`; without a parent, the first span of a new trace.
    pub fn follow(parent: Option<&Self>, ids: &IdSource) -> Self {
        parent.map_or_else(|| Self::root(ids), |parent| parent.child(ids))
    }

    /// Creates a new span of the same trace.
    #[must_use]
    pub fn child(&self, ids: &IdSource) -> Self {
        Self { span_id: ids.span_id(), ..self.clone() }
    }

    /// Sets whether the trace is sampled.
    #[must_use]
    pub fn with_sampled(self, sampled: bool) -> Self {
        let flags = if sampled { self.flags | SAMPLED } else { self.flags & !SAMPLED };
        Self { flags, ..self }
    }

    /// Returns whether the program that started the trace samples it.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the trace id, never 0; written as `{:032x}`.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// Returns the span id, never 0; written as `{:016x}`.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Returns the flags as a number.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Returns the value of the `traceparent` header.
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(55);
        // Writing to a `String` does not fail.
        let _ = write!(text, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags);
        text
    }

    /// Returns the value of the `tracestate` header, if any.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.tracestate() {
            Some(state) => to.collect_str(&format_args!("{} {state}", self.traceparent())),
            None => to.serialize_str(&self.traceparent()),
        }
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let (parent, state) = text.split_once(' ').unwrap_or((&text, ""));
        Self::parse(parent, state).ok_or_else(|| serde::de::Error::custom("no trace context"))
    }
}

/// Parses exactly `digits` lower-case hexadecimal digits at the start of `text`, and returns the number and the rest.
fn hexadecimal(text: &str, digits: usize) -> Option<(u128, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    let plain = number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    Some((plain.then(|| u128::from_str_radix(number, 16).ok()).flatten()?, rest))
}

/// Returns the members to propagate; `None` if there are none or the list is not valid.
fn state(text: &str) -> Option<Arc<str>> {
    let members = text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
    let mut members: Vec<_> = members.collect();
    let mut keys: Vec<_> = members.iter().map(|member| key(member)).collect::<Option<_>>()?;
    keys.sort_unstable();
    if members.len() > MAX_MEMBERS || keys.windows(2).any(|two| two[0] == two[1]) {
        return None;
    }
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    if length(&members) > MAX_STATE {
        members.retain(|member| member.len() <= LONG_MEMBER);
    }
    while length(&members) > MAX_STATE {
        members.pop();
    }
    (!members.is_empty()).then(|| members.join(",").into())
}

/// Returns the key of a member, if the member is valid.
fn key(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    let within = |text: &str, most: usize| {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
        first && text.len() <= most && text.bytes().all(rest)
    };
    let valid_key = match key.split_once('@') {
        None => within(key, 256),
        Some((tenant, system)) => within(tenant, 241) && within(system, 14),
    };
    let printable = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b'=';
    let valid_value = (1..=256).contains(&value.len()) && value.bytes().all(printable) && !value.ends_with(' ');
    (valid_key && valid_value).then_some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn passed_on(traceparent: &str, tracestate: &str) -> Option<(String, Option<String>)> {
        let parsed = TraceContext::parse(traceparent, tracestate)?;
        Some((parsed.traceparent(), parsed.tracestate().map(str::to_owned)))
    }

    #[test]
    fn a_message_without_a_trace_is_of_one_however_often_it_comes() {
        let ids = IdSource::seeded(1);
        let of = |source, id| TraceContext::of_message(source, id, &ids);
        let (first, again) = (of("shop", "m-1"), of("shop", "m-1"));
        assert_eq!(first.trace_id(), again.trace_id());
        assert_ne!(first.span_id(), again.span_id());
        for other in [of("shop", "m-2"), of("store", "m-1"), of("shopm", "-1")] {
            assert_ne!(first.trace_id(), other.trace_id());
        }
        // A fixed value, because services of other versions must derive the same id.
        assert_eq!(of("orders", "orders-0-7").trace_id(), 0x8c73_5c8b_1b6a_963d_1081_1cdb_eb6b_b660);
    }

    #[test]
    fn a_traceparent_is_taken_or_restarts_the_trace() {
        let own = |flags: &str| Some(format!("00-{TRACE}-{SPAN}-{flags}"));
        let (zeros, upper) = ("0".repeat(32), TRACE.to_uppercase());
        for (text, expected) in [
            (format!("00-{TRACE}-{SPAN}-01"), own("01")),
            (format!("00-{TRACE}-{SPAN}-00"), own("00")),
            (format!("00-{TRACE}-{SPAN}-ff"), own("03")),
            (format!(" 00-{TRACE}-{SPAN}-01\t"), own("01")),
            (format!("01-{TRACE}-{SPAN}-01"), own("01")),
            (format!("cc-{TRACE}-{SPAN}-ff-what-comes-later"), own("01")),
            (format!("cc-{TRACE}-{SPAN}-01.what"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("00-{zeros}-{SPAN}-01"), None),
            (format!("00-{TRACE}-0000000000000000-01"), None),
            (format!("00-{upper}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None),
            (format!("00-{TRACE}-{}-01", &SPAN[1..]), None),
            (format!("00-{}-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-{TRACE}--01"), None),
            (format!("00-{TRACE}-{SPAN}-0"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("0-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-0x"), None),
            (format!("00_{TRACE}_{SPAN}_01"), None),
            ("é".repeat(30), None),
            (String::new(), None),
        ] {
            assert_eq!(passed_on(&text, "").map(|(parent, _)| parent), expected, "{text}");
        }
    }

    #[test]
    fn a_tracestate_is_passed_on_within_its_bounds() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let many = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        let long = |key: &str, length: usize| format!("{key}={}", "v".repeat(length));
        for (given, expected) in [
            ("a=1,b=2".to_owned(), Some("a=1,b=2".to_owned())),
            (" a=1 ,\t,b=2,".to_owned(), Some("a=1,b=2".to_owned())),
            ("fw529a3039@dt=FfAAAA==".to_owned(), None),
            ("1tenant@sys_1=a b".to_owned(), Some("1tenant@sys_1=a b".to_owned())),
            (many(32), Some(many(32))),
            (many(33), None),
            ("a=1,a=2".to_owned(), None),
            ("A=1".to_owned(), None),
            ("a".to_owned(), None),
            ("a=".to_owned(), None),
            ("=1".to_owned(), None),
            ("a=\u{7}".to_owned(), None),
            ("a=é".to_owned(), None),
            (",, ,".to_owned(), None),
            (String::new(), None),
            (long("a", 257), None),
            // Too long in total: members over 128 characters are removed first, then the last ones.
            (format!("a=1,{},{},c=3", long("b", 250), long("d", 256)), Some("a=1,c=3".to_owned())),
            (
                ["p", "q", "r", "s", "t"].map(|key| long(key, 120)).join(","),
                Some(["p", "q", "r", "s"].map(|key| long(key, 120)).join(",")),
            ),
        ] {
            assert_eq!(passed_on(&parent, &given).map(|(_, state)| state), Some(expected), "{given}");
        }
        assert_eq!(passed_on("00-nonsense", "a=1"), None, "a state without a parent is nothing");
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_valid_whatever_came(parent in "[0-9a-fA-F-]{0,60}|.{0,60}", state in "[a-z0-9=, @_]{0,600}|.{0,80}") {
            if let Some(context) = TraceContext::parse(&parent, &state) {
                let child = context.child(&IdSource::seeded(1));
                let stored = serde_json::to_string(&child).expect("text");
                prop_assert_eq!(serde_json::from_str::<TraceContext>(&stored).expect("a context"), child.clone());
                let state = child.tracestate().unwrap_or_default();
                prop_assert!(state.len() <= MAX_STATE);
                prop_assert_eq!(TraceContext::parse(&child.traceparent(), state), Some(child));
            }
        }
    }
}
