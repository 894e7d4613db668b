//! How a handler says no: a business refusal, *not now*, *never*, or a technical fault that is worth another attempt.

use std::{error::Error, fmt, time::Duration};

/// A technical fault: something broke that may work at the next attempt.
///
/// Any error becomes one by `?`, and it becomes a [`Failure`] by `?`, so helpers shared by several handlers return
/// `Result<T, Fault>`. It is no [`Error`] itself: that is what lets both conversions exist.
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
    /// A fault described by `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into().into())
    }

    /// A fault from an error that is boxed already.
    pub fn boxed(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(error)
    }

    /// The error itself.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Fault {
    /// The error and its causes, joined by colons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The refusal of a handler that refuses nothing. It has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusesNothing {}

/// Why a handler did not do its work, and what is to happen now.
///
/// `R` is the event (or events) that says a business *no*. Without it the handler has nothing to refuse.
///
/// # Delivery
/// In every case what the handler wrote in its transaction is undone.
#[derive(Debug)]
pub enum Failure<R = RefusesNothing> {
    /// A business *no*: the refusal is published and the message is done.
    Reject(R), // to refuse with the event `E`, return `Result<.., Failure<E>>`
    /// A technical fault: the message is tried again by the handler's retry policy, then dead-lettered.
    Retry(Fault),
    /// *Not now*, for example behind an open circuit breaker: tried again after this long. Counts as no attempt.
    /// For at most [`put_off_limit_s`](crate::settings::Settings::put_off_limit_s) from when the message was first seen: after that it
    /// counts as a technical fault.
    Later(Duration),
    /// Never: dead-lettered at once, for this reason.
    Dead(Fault),
}

impl<R> Failure<R> {
    /// Dead-letters the message at once, with `reason`.
    pub fn dead(reason: impl Into<String>) -> Self {
        Self::Dead(Fault::new(reason))
    }

    /// Tries the message again, with `reason`.
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

/// Turns an error that implements no [`Error`] (a boxed one, `anyhow`'s) into a technical fault: `.or_retry()?`.
pub trait OrRetry<T> {
    /// The value, or the error as a [`Fault`].
    ///
    /// # Errors
    /// The error, as a fault.
    fn or_retry(self) -> Result<T, Fault>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> OrRetry<T> for Result<T, E> {
    fn or_retry(self) -> Result<T, Fault> {
        self.map_err(|error| Fault(error.into()))
    }
}
