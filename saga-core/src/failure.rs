//! The errors of handlers: a business refusal, *not now*, *never*, or a technical fault that is worth another attempt.

use std::{error::Error, fmt, time::Duration};

/// A technical fault: something failed that may succeed at the next attempt.
///
/// Any error converts into a `Fault` with `?`, and a `Fault` converts into a [`Failure`] with `?`, so a helper that several handlers
/// share can return `Result<T, Fault>`. `Fault` does not implement [`Error`] itself: otherwise the two conversions would conflict.
///
/// ```
/// # use saga_core::failure::{Failure, Fault};
/// fn quantity(text: &str) -> Result<u32, Fault> {
///     Ok(text.parse()?)
/// }
/// fn handle() -> Result<(), Failure> {
///     quantity("12")?;
///     Ok(())
/// }
/// ```
pub struct Fault(Box<dyn Error + Send + Sync>);

impl Fault {
    /// Creates a fault with the text `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into().into())
    }

    /// Creates a fault from a boxed error.
    pub fn boxed(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(error)
    }

    /// Returns the underlying error.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// For programs that pass errors on as boxes.
impl From<Fault> for Box<dyn Error + Send + Sync> {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}

/// For programs that pass errors on as boxes.
impl From<Fault> for Box<dyn Error> {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Fault {
    /// Writes the error and its causes, joined by colons. A cause is omitted if the text before it already contains it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        f.write_str(&told)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !told.contains(&text) {
                write!(f, ": {text}")?;
                told = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

/// The refusal type of a handler that cannot refuse. It has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusesNothing {}

/// Why a handler failed, and what happens to the message.
///
/// `R` is the event, or the enum of events, that is published as the business *no*. By default the handler cannot refuse.
///
/// # Delivery
/// In every case, what the handler wrote in its transaction is rolled back.
#[derive(Debug)]
pub enum Failure<R = RefusesNothing> {
    /// A refusal, the business *no*: the event is published and the message is done.
    Reject(R), // to refuse with the event `E`, return `Result<.., Failure<E>>`
    /// A technical fault: the message is retried according to the handler's retry policy, and then becomes a dead letter.
    Retry(Fault),
    /// *Not now*, for example because a circuit breaker is open: the message is delivered again after this duration, without a counted
    /// attempt.
    ///
    /// The limit is [`put_off_limit_s`](crate::settings::Settings::put_off_limit_s), measured from when the service first saw the message.
    /// After that, it counts as a technical fault.
    Later(Duration),
    /// *Never*: the message becomes a dead letter at once, with this reason.
    Dead(Fault),
}

impl<R> Failure<R> {
    /// Makes the message a dead letter at once, with `reason`.
    pub fn dead(reason: impl Into<String>) -> Self {
        Self::Dead(Fault::new(reason))
    }

    /// Retries the message, with `reason`.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry(Fault::new(reason))
    }
}

impl<R, E: Error + Send + Sync + 'static> From<E> for Failure<R> {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

impl<R> From<Fault> for Failure<R> {
    fn from(fault: Fault) -> Self {
        Self::Retry(fault)
    }
}

/// Converts an error that does not implement [`Error`] (a boxed error, `anyhow::Error`) into a technical fault: `.or_retry()?`.
pub trait OrRetry<T> {
    /// Returns the value, or converts the error into a [`Fault`].
    ///
    /// # Errors
    /// Returns the converted error.
    fn or_retry(self) -> Result<T, Fault>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> OrRetry<T> for Result<T, E> {
    fn or_retry(self) -> Result<T, Fault> {
        self.map_err(|error| Fault(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        #[source]
        cause: Option<Box<Told>>,
    }

    #[test]
    fn it_goes_where_errors_are_boxed() {
        fn boxed(fault: Fault) -> Result<(), Box<dyn Error>> {
            Err(fault)?
        }
        assert_eq!(boxed(Fault::new("no paper")).expect_err("a fault").to_string(), "no paper");
    }

    #[test]
    fn a_cause_is_told_once() {
        let told = |texts: &[&'static str]| {
            let error = texts.iter().rev().fold(None, |cause, text| Some(Box::new(Told { text, cause })));
            Fault::from(*error.expect("a text")).to_string()
        };
        assert_eq!(told(&["the stock cannot be read", "no such table"]), "the stock cannot be read: no such table");
        assert_eq!(told(&["answered: no such table", "no such table", "line 7"]), "answered: no such table: line 7");
    }
}
