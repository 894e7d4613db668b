//! What can be wrong with a configuration.

use std::fmt;

use saga_core::transport::TransportError;

/// Why a configuration cannot work: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfigError {
    problems: Vec<Problem>,
}

/// One thing that is wrong with a configuration. No message repeats a password, key or user name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// What was given is no URL of a cluster.
    #[error("the Kafka URL {0}; write kafka://host:port,host:port?option=value")]
    Url(String),
    /// No broker is named.
    #[error("no broker is named; name at least one, as kafka://127.0.0.1:9092")]
    NoBroker,
    /// What was given is no address of a broker.
    #[error("`{address}` {reason}; write host:port")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it, as the rest of a sentence.
        reason: &'static str,
    },
    /// An option that is not the user's to set, because what is promised of deliveries rests on it.
    #[error("the option `{option}` cannot be set: {reason}")]
    Refused {
        /// Its name.
        option: String,
        /// Why not, and what to do instead.
        reason: &'static str,
    },
    /// An option that the client does not know.
    #[error("the option `{option}` is unknown{}", nearest_text(.nearest.as_deref()))]
    Unknown {
        /// Its name.
        option: String,
        /// The known name that is most like it, if any is.
        nearest: Option<String>,
    },
    /// An option or setting with a value that does not fit.
    #[error("`{name}` {reason}")]
    Value {
        /// Its name.
        name: String,
        /// What is wrong, as the rest of a sentence.
        reason: String,
    },
    /// The client does not work with all of it together.
    #[error("the Kafka client cannot be made: {0}")]
    Client(String),
    /// Records would travel unencrypted to another machine.
    #[error(
        "records{} would travel unencrypted to {}: encrypt with the option `security.protocol={}` and the feature `tls`, or, in a \
         network you trust, allow it with `?plaintext=allow` in the URL or `allow_plaintext = true` in a file",
        if *.credentials { " and credentials" } else { "" }, .brokers.join(", "), if *.credentials { "sasl_ssl" } else { "ssl" }
    )]
    Plaintext {
        /// The brokers that are not on this machine.
        brokers: Vec<String>,
        /// Whether credentials are sent.
        credentials: bool,
    },
    /// Something that this build of the client cannot do.
    #[error("this build of the Kafka client has no {what}, which `{option}` asks for: {fix}")]
    Missing {
        /// What is asked for.
        what: &'static str,
        /// The option that asks for it.
        option: String,
        /// How to get it.
        fix: &'static str,
    },
}

fn nearest_text(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => "; librdkafka's CONFIGURATION.md lists those there are".to_owned(),
    }
}

impl KafkaConfigError {
    /// `Err` when there are problems.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// Everything that is wrong, at least one thing.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for KafkaConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for KafkaConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for KafkaConfigError {}

impl From<KafkaConfigError> for TransportError {
    fn from(error: KafkaConfigError) -> Self {
        Self::Open { path: "Apache Kafka".to_owned(), problem: error.to_string() }
    }
}
