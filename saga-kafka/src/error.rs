//! The meaning of the client's errors, and how to fix them.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};
use saga_core::{message::TopicPartition, transport::TransportError};

/// What an error of the connection to all brokers means.
const NO_BROKER: &str = "no broker can be reached";

/// Returns `error`. If it means that no broker can be reached, it names the addresses that were tried.
pub(crate) fn with_addresses(error: TransportError, tried: &[String]) -> TransportError {
    match error {
        TransportError::Unavailable(text) => {
            TransportError::Unavailable(text.replacen(NO_BROKER, &format!("{NO_BROKER} at {}", tried.join(", ")), 1))
        }
        error => error,
    }
}

/// A transient error, with what was attempted and, where it is known, the fix.
pub(crate) fn unavailable(what: &str, error: &KafkaError) -> TransportError {
    match code(error) {
        Some(code) => unavailable_by(what, code, ""),
        None => TransportError::Unavailable(format!("{what}: {error}")),
    }
}

/// The same for an error code, with the client's description of it.
pub(crate) fn unavailable_by(what: &str, code: Code, reason: &str) -> TransportError {
    let mut text = format!("{what}: {}", describe(code));
    if !reason.is_empty() {
        text = format!("{text}: {reason}");
    }
    if let Some(fix) = fix(code) {
        text = format!("{text}; {fix}");
    }
    TransportError::Unavailable(text)
}

/// The code of `error`, if it has one.
pub(crate) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

/// librdkafka's description of a code, without its number.
pub(crate) fn describe(code: Code) -> String {
    let text = code.to_string();
    let inner = text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or_else(|| text.clone(), ToOwned::to_owned)
}

/// Whether the error lasts until the configuration or the cluster is changed, so that waiting does not help.
pub(crate) fn is_lasting(code: Code) -> bool {
    fix(code).is_some() && !matches!(code, Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve)
}

/// Whether the error concerns the connection to one broker, so that other brokers may still work.
pub(crate) fn is_of_connection(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
    )
}

/// Whether the error concerns the records that were fetched from a partition, and not the connection, the group or the cluster.
pub(crate) fn is_of_records(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::BadCompression
            | Code::NotImplemented
            | Code::UnsupportedCompressionType
            | Code::UnsupportedForMessageFormat
            | Code::BadMessage
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::MessageSizeTooLarge
            | Code::InvalidRecord
            | Code::Underflow
            | Code::Unknown
    )
}

/// Explains that the record at `next` of a partition, or its oldest record, cannot be read, with the fix.
pub(crate) fn unreadable(partition: &TopicPartition, next: Option<i64>, code: Code, reason: &str) -> String {
    let at = next.map_or_else(|| "the oldest record".to_owned(), |next| format!("record {next}"));
    let topic = &partition.topic;
    let fix = match code {
        Code::BadCompression | Code::NotImplemented | Code::UnsupportedCompressionType if reason.contains("codec 0x4") => {
            "it is compressed by zstd: if the program is linked with a librdkafka of the system, take one that has zstd; else the record is \
             damaged: publish it again, and pass over this one"
                .to_owned()
        }
        Code::BadCompression | Code::NotImplemented | Code::UnsupportedCompressionType => {
            "its compression is not known to this build, or the record is damaged: publish it again with `compression.type` gzip, snappy, \
             lz4, zstd or none, and pass over this one"
                .to_owned()
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => {
            "it is larger than what may be fetched: raise the client's `receive.message.max.bytes` and `fetch.max.bytes`".to_owned()
        }
        _ => format!("see the log of the broker that leads the partition, and whether other readers of `{topic}` get the record"),
    };
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("{partition}: {at} and what follows cannot be read: {}{reason}; {fix}", describe(code))
}

/// The fix for an error, where one is known.
fn fix(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "the cluster refuses the credentials: see `sasl.mechanism`, `sasl.username` and `sasl.password`"
        }
        Code::UnsupportedSASLMechanism => "the cluster does not offer this `sasl.mechanism`",
        Code::SSL => "encryption could not be agreed on: see `ssl.ca.location`, and that the port is the one for TLS",
        Code::TopicAuthorizationFailed => {
            "the user may not use it: grant Describe and DescribeConfigs, Read where the service consumes it, and Write where it publishes"
        }
        Code::GroupAuthorizationFailed => "the user may not use the group: grant Read and Describe on it",
        Code::ClusterAuthorizationFailed => "the user may not do this on the cluster: grant Create, or create the topics by hand",
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => {
            "no broker can be reached: see that they run, and that their `advertised.listeners` lead there from here"
        }
        Code::FencedInstanceId | Code::UnreleasedInstanceId => {
            "another process has the same `group.instance_id`: give every process its own"
        }
        Code::InconsistentGroupProtocol | Code::UnsupportedAssignor => {
            "members of the group read it in another way: stop those that do not use `cooperative-sticky`, then start again"
        }
        Code::UnsupportedVersion | Code::UnsupportedFeature => {
            "the cluster is too old for this: `group.protocol=consumer` needs Apache Kafka 4.0"
        }
        Code::InvalidSessionTimeout => {
            "the session timeout must lie between the brokers' `group.min.session.timeout.ms` and `group.max.session.timeout.ms`"
        }
        Code::GroupMaxSizeReached => "the group has as many members as the brokers' `group.max.size` allows",
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "fewer replicas are in sync than the topic's `min.insync.replicas` asks for"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_and_the_fix() {
        let error = unavailable("joining the group `billing`", &KafkaError::MessageConsumption(Code::GroupAuthorizationFailed));
        let text = error.to_string();
        assert!(text.contains("billing") && text.contains("Group authorization failed") && text.contains("grant Read"), "{text}");
    }

    #[test]
    fn an_error_of_all_brokers_names_the_addresses_that_were_tried() {
        let tried = ["kafka-1:9092".to_owned(), "kafka-2:9092".to_owned()];
        for code in [Code::AllBrokersDown, Code::BrokerTransportFailure, Code::Resolve] {
            let text = with_addresses(unavailable_by("asking the cluster", code, ""), &tried).to_string();
            assert!(text.contains("no broker can be reached at kafka-1:9092, kafka-2:9092: see that they run"), "{text}");
        }
        let other = unavailable_by("asking the cluster", Code::RequestTimedOut, "");
        assert_eq!(
            with_addresses(other, &tried).to_string(),
            unavailable_by("asking the cluster", Code::RequestTimedOut, "").to_string()
        );
    }

    #[test]
    fn only_what_somebody_has_to_change_is_lasting() {
        assert!(is_lasting(Code::SaslAuthenticationFailed) && is_lasting(Code::TopicAuthorizationFailed));
        assert!(!is_lasting(Code::AllBrokersDown) && !is_lasting(Code::RequestTimedOut));
    }
}
