//! Names of record headers: the CloudEvents 1.0 Kafka binary binding, its extensions, W3C trace context, and the names
//! Spring for Apache Kafka gives to dead letters.

/// CloudEvents version, always `1.0`.
pub const SPEC_VERSION: &str = "ce_specversion";
/// The message's identity within its source.
pub const ID: &str = "ce_id";
/// The event's name.
pub const TYPE: &str = "ce_type";
/// The service that published it.
pub const SOURCE: &str = "ce_source";
/// When it was published, RFC 3339.
pub const TIME: &str = "ce_time";
/// The event's key.
pub const SUBJECT: &str = "ce_subject";
/// The media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// What the whole flow is known by.
pub const CORRELATION_ID: &str = "ce_correlationid";
/// The message that led to this one.
pub const CAUSATION_ID: &str = "ce_causationid";
/// The saga instance this message belongs to.
pub const SAGA_ID: &str = "ce_sagaid";
/// The version of the event's shape.
pub const SCHEMA_VERSION: &str = "ce_schemaversion";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, vendors' part.
pub const TRACESTATE: &str = "tracestate";

/// The identity of the dead letter in the service's database, on the record that carries it to the dead letter topic.
pub const DLT_LETTER: &str = "sagas_dlt-letter";
/// The topic a dead letter came from.
pub const DLT_TOPIC: &str = "kafka_dlt-original-topic";
/// The partition it came from (big-endian 32 bit).
pub const DLT_PARTITION: &str = "kafka_dlt-original-partition";
/// The offset it had there (big-endian 64 bit).
pub const DLT_OFFSET: &str = "kafka_dlt-original-offset";
/// The timestamp it had (big-endian 64 bit milliseconds).
pub const DLT_TIMESTAMP: &str = "kafka_dlt-original-timestamp";
/// The consumer group that gave it up.
pub const DLT_GROUP: &str = "kafka_dlt-original-consumer-group";
/// What kind of failure it was.
pub const DLT_EXCEPTION: &str = "kafka_dlt-exception-fqcn";
/// What went wrong.
pub const DLT_MESSAGE: &str = "kafka_dlt-exception-message";
