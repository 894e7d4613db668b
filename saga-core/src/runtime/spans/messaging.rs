//! The attributes of spans for records and messages, by the semantic conventions of OpenTelemetry for messaging and Kafka.

use super::{Kind, Moment, Span, Value};
use crate::{
    message::{Record, TraceContext, headers},
    runtime::{core::Core, item::Item},
    transport::{Position, TransportError},
};

pub(super) const SYSTEM: (&str, Value) = ("messaging.system", Value::Word("kafka"));
const DESTINATION: &str = "messaging.destination.name";
const PARTITION: &str = "messaging.destination.partition.id";
const OFFSET: &str = "messaging.kafka.offset";
const KEY: &str = "messaging.kafka.message.key";
const MESSAGE_ID: &str = "messaging.message.id";
const CONVERSATION: &str = "messaging.message.conversation_id";
const BODY: &str = "messaging.message.body.size";
const GROUP: &str = "messaging.consumer.group.name";

/// Returns the attributes for the name and the type of an operation.
pub(super) fn operation(name: &'static str, of_type: &'static str) -> [(&'static str, Value); 3] {
    [SYSTEM, ("messaging.operation.name", Value::Word(name)), ("messaging.operation.type", Value::Word(of_type))]
}

fn number(count: usize) -> Value {
    Value::Number(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Returns the attributes that any record has.
pub(super) fn of_record(core: &Core, record: &Record) -> Vec<(&'static str, Value)> {
    let mut said = vec![
        (DESTINATION, core.name_in_log(&record.topic).into_owned().into()),
        (BODY, number(record.value.as_ref().map_or(0, bytes::Bytes::len))),
    ];
    let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    said.extend(key.map(|key| (KEY, key.into())));
    said.extend(record.header(headers::ID).map(|id| (MESSAGE_ID, id.into())));
    said.extend(record.header(headers::CORRELATION_ID).map(|id| (CONVERSATION, id.into())));
    said
}

/// Returns the attributes of a received message.
pub(super) fn of_item(core: &Core, item: &Item) -> Vec<(&'static str, Value)> {
    let received = &item.received;
    let mut said = vec![
        (DESTINATION, core.name_in_log(&received.record.topic).into_owned().into()),
        (PARTITION, received.partition.to_string().into()),
        (OFFSET, received.offset.into()),
        (MESSAGE_ID, item.envelope.id.as_str().into()),
        (CONVERSATION, item.envelope.correlation_id.as_str().into()),
        (GROUP, (&*core.name).into()),
        (BODY, number(received.record.value.as_ref().map_or(0, bytes::Bytes::len))),
        ("sagas.attempt", i64::from(item.origin.attempts().saturating_add(1)).into()),
    ];
    said.extend(item.saga_id().map(|key| (KEY, key.into())));
    said.extend(item.said_type(core).map(|event| ("sagas.event", event.into())));
    said.extend(item.role(core).map(|role| ("sagas.saga", role.saga.name.as_str().into())));
    said
}

/// The call of the relay that sends records to the log.
pub(crate) struct Sending {
    began: Moment,
    count: usize,
}

impl Sending {
    /// Begins a call with `count` records.
    pub(crate) fn begin(core: &Core, count: usize) -> Self {
        Self { began: if core.spans.is_on() { Moment::now() } else { Moment::default() }, count }
    }

    /// Exports the span of `record` after its result is known.
    pub(crate) fn answered(&self, core: &Core, record: &Record, answer: &Result<Position, TransportError>) {
        if !self.began.is_recorded() {
            return;
        }
        // The span that created the record. An invalid `traceparent` was not written by this framework.
        let Some(made) = record.header(headers::TRACEPARENT).and_then(|parent| TraceContext::parse(parent, "")) else { return };
        if !core.spans.begin(&made).is_recorded() {
            return;
        }
        let position = answer.as_ref().ok();
        let position = position.map(|at| [(PARTITION, at.partition.to_string().into()), (OFFSET, at.offset.into())]);
        let error = answer.as_ref().err().map(|error| (kind(error), error.to_string()));
        let span = Span::new(&made.child(&core.ids), format!("send {}", record.topic), Kind::Client)
            // The record can have been created by an earlier process.
            .within_remote(Some(made.span_id()))
            .with(operation("send", "send"))
            .with(of_record(core, record))
            .with(position.into_iter().flatten())
            .with((self.count > 1).then(|| ("messaging.batch.message_count", number(self.count))))
            .failed(error);
        core.spans.export(span.from(self.began, Moment::now()));
    }
}

fn kind(error: &TransportError) -> &'static str {
    match error {
        TransportError::Refused(_) => "refused",
        TransportError::UnknownTopic(_) => "unknown_topic",
        _ => "unavailable",
    }
}
