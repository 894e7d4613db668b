//! What the client reports, on its own thread.

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

use super::call::Ticket;
use crate::{
    error::{self, unavailable},
    net::held,
    observer::log,
    statistics::Board,
    time::now,
};

/// The producer's context.
pub(super) struct Reports {
    pub(super) board: Arc<Board>,
    /// A record has left the buffer.
    pub(super) room: Arc<Notify>,
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
                // It is said again and again, and a condition of every service meanwhile.
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

    /// Without the ticket's answer the call ends by its own time.
    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        held("the report of a record", || answered(result, *ticket));
        self.room.notify_waiters();
    }
}

fn answered(result: &DeliveryResult<'_>, ticket: Ticket) {
    match result {
        // Of a record whose answer was lost, and that is known to be stored by what was stored after it, the offset is -1.
        Ok(message) => {
            ticket.report(Ok(Position { partition: message.partition(), offset: message.offset().max(-1) }), false);
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

/// What an error says of the record.
pub(super) fn refusal(error: &KafkaError, topic: &str) -> TransportError {
    match error::code(error) {
        Some(code @ (Code::MessageSizeTooLarge | Code::InvalidMessageSize)) => TransportError::Refused(format!(
            "{}; raise `max.message.bytes` of the topic `{topic}`, or keep large content elsewhere and publish where it is",
            error::describe(code)
        )),
        Some(code @ (Code::InvalidRecord | Code::InvalidTimestamp)) => TransportError::Refused(format!(
            "{}; a compacted topic takes no record without a key, and `message.timestamp.after.max.ms` and `.before.max.ms` of the \
             topic `{topic}` say how far the time of a record may be off",
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
