//! The client's reports, which arrive on its own thread.

use std::sync::Arc;

use rdkafka::{
    ClientContext, Message, Statistics,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
    types::RDKafkaErrorCode as Code,
};
use saga_core::transport::{Position, TransportError};
use tokio::sync::Notify;

use super::{call::Ticket, known::KnownPartitions};
use crate::{
    error::{self, unavailable},
    net::held,
    observer::log,
    statistics::StatsRegistry,
    time::now,
};

/// The context of the producer's client.
pub(super) struct Reports {
    pub(super) board: Arc<StatsRegistry>,
    /// Notified when a record has left the buffer.
    pub(super) room: Arc<Notify>,
    pub(super) known: Arc<KnownPartitions>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        held("the log of the producer", || log(level, facility, message));
    }

    fn stats(&self, statistics: Statistics) {
        held("the statistics of the producer", || self.board.note(None, &statistics));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        held("an error of the producer", || match error::code(&error) {
            Some(code) if error::is_of_connection(code) => {
                // The error is reported repeatedly, and is meanwhile a condition of every service.
                if self.board.refused(None, code, reason, now()) {
                    tracing::error!(target: "librdkafka", "{}", error::unavailable_by("the producer", code, reason));
                }
            }
            Some(code) if error::is_lasting(code) => {
                tracing::error!(target: "librdkafka", "{}", error::unavailable_by("the producer", code, reason));
            }
            _ => tracing::debug!(target: "librdkafka", %error, reason, "the producer"),
        });
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    /// If this panics before it sets the result, the call ends by its timeout.
    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        held("the report of a record", || answered(result, *ticket));
        self.room.notify_waiters();
    }
}

fn answered(result: &DeliveryResult<'_>, ticket: Ticket) {
    match result {
        Ok(message) if message.offset() >= 0 => {
            ticket.stored(Position { partition: message.partition(), offset: message.offset() });
        }
        // The client only infers that the record is stored: from a later record that was stored, or from a sequence number that
        // the broker has seen. No broker has reported its position. If it is stored twice, it is still one message, by its
        // message id.
        Ok(message) => {
            let topic = message.topic();
            let unsure = format!(
                "whether the record for `{topic}` is stored is not known: no broker has answered for it; it is sent again"
            );
            ticket.failed(topic, TransportError::Unavailable(unsure), false);
        }
        Err((KafkaError::MessageProduction(Code::MessageSizeTooLarge), message)) => {
            let error = refusal(&KafkaError::MessageProduction(Code::MessageSizeTooLarge), message.topic());
            ticket.refused_with_others(Err(error));
        }
        Err((error, message)) => {
            let taken_back = matches!(error::code(error), Some(Code::PurgeQueue | Code::PurgeInflight));
            ticket.failed(message.topic(), refusal(error, message.topic()), taken_back);
        }
    }
}

/// The meaning of an error for the record.
pub(super) fn refusal(error: &KafkaError, topic: &str) -> TransportError {
    match error::code(error) {
        Some(code @ (Code::MessageSizeTooLarge | Code::InvalidMessageSize)) => TransportError::Refused(format!(
            "{}; raise `max.message.bytes` of the topic `{topic}`, or keep large content elsewhere and publish where it is",
            error::describe(code)
        )),
        Some(code @ (Code::InvalidRecord | Code::InvalidTimestamp)) => TransportError::Refused(format!(
            "{}; a compacted topic takes no record without a key, and `message.timestamp.after.max.ms` and `.before.max.ms` of the \
             topic `{topic}` limit how far the time of a record may be off",
            error::describe(code)
        )),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic) => {
            TransportError::UnknownTopic(topic.to_owned())
        }
        Some(Code::PurgeQueue | Code::PurgeInflight) => TransportError::Unavailable(format!(
            "the record for `{topic}` was taken back, because the log did not take it or one before it in time"
        )),
        _ => unavailable(&format!("publishing to `{topic}`"), error),
    }
}
