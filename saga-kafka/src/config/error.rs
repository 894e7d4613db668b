//! The errors of a configuration.

use std::fmt;

use saga_core::transport::TransportError;

/// Why a configuration cannot work: everything that is wrong with it.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfigError {
    problems: Vec<Problem>,
}

/// The same text as `Display`, because a `main` that returns the error prints its `Debug` form.
impl std::fmt::Debug for KafkaConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// One thing that is wrong with a configuration. No message contains a password, key or user name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not the URL of a cluster.
    #[error("the Kafka URL {0}; write kafka://host:port,host:port?option=value")]
    Url(String),
    /// No broker is named.
    #[error("no broker is named; name at least one, as kafka://127.0.0.1:9092")]
    NoBroker,
    /// The text is not the address of a broker.
    #[error("`{address}` {reason}; write host:port")]
    Address {
        /// The text.
        address: String,
        /// What is wrong with it, as the end of a sentence.
        reason: &'static str,
    },
    /// An option that the user cannot set, because the delivery guarantees depend on it.
    #[error("the option `{option}` cannot be set: {reason}")]
    Refused {
        /// The option.
        option: String,
        /// Why it cannot be set, and what to do instead.
        reason: &'static str,
    },
    /// An option that the client does not know.
    #[error("the option `{option}` is unknown{}", nearest_text(.nearest.as_deref()))]
    Unknown {
        /// The option.
        option: String,
        /// The name that it is probably a misspelling of, if there is one.
        nearest: Option<String>,
    },
    /// An option or setting with an invalid value.
    #[error("`{name}` {reason}")]
    Value {
        /// The option or setting.
        name: String,
        /// What is wrong, as the end of a sentence.
        reason: String,
    },
    /// The client rejects the combination of all options.
    #[error("the Kafka client cannot be made: {0}")]
    Client(String),
    /// Records would be sent unencrypted to another machine.
    #[error(
        "records{} would travel unencrypted to {}: encrypt with the option `security.protocol={}` and the feature `tls`, or, in a \
         network you trust, allow it with `?plaintext=allow` in the URL or `allow_plaintext = true` in a file",
        if *.credentials { " and credentials" } else { "" }, .brokers.join(", "), if *.credentials { "sasl_ssl" } else { "ssl" }
    )]
    Plaintext {
        /// The brokers that are on other machines.
        brokers: Vec<String>,
        /// Whether credentials are sent, too.
        credentials: bool,
    },
    /// A feature that this build of the client does not have.
    #[error("this build of the Kafka client has no {what}, which `{option}` asks for: {fix}")]
    Missing {
        /// The feature.
        what: &'static str,
        /// The option that requires it.
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
    /// Returns an error if there are problems.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// Everything that is wrong; never empty.
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
