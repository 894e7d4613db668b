//! Codecs: convert an event to the bytes of a record's value and back.
//!
//! The default codec of an event is [`Json`]. `#[event(.., codec = Packed)]` names another one, for that event only: a type that implements
//! [`Encode`] and [`Decode`]. Headers, key and message id do not depend on the codec.
//!
//! ```
//! use saga_core::{failure::Fault, message::{Decode, Encode}};
//!
//! pub struct Reading { pub sensor: u32, pub celsius: f32 }
//!
//! /// A reading in eight bytes.
//! pub struct Packed;
//!
//! impl Encode<Reading> for Packed {
//!     const CONTENT_TYPE: &'static str = "application/vnd.example.reading";
//!
//!     fn encode(reading: &Reading) -> Result<Vec<u8>, Fault> {
//!         Ok([reading.sensor.to_be_bytes(), reading.celsius.to_be_bytes()].concat())
//!     }
//! }
//!
//! impl Decode<Reading> for Packed {
//!     fn decode(value: &[u8]) -> Result<Reading, Fault> {
//!         let (sensor, celsius) = value.split_first_chunk().ok_or_else(|| Fault::new("`sensor` is cut off"))?;
//!         Ok(Reading { sensor: u32::from_be_bytes(*sensor), celsius: f32::from_be_bytes(celsius.try_into()?) })
//!     }
//! }
//!
//! let value = Packed::encode(&Reading { sensor: 7, celsius: 21.5 })?;
//! assert_eq!(Packed::decode(&value)?.sensor, 7);
//! # Ok::<_, Fault>(())
//! ```

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::failure::Fault;

/// A codec that encodes `T`.
#[diagnostic::on_unimplemented(
    message = "the event `{T}` cannot be written as `{Self}`",
    label = "`{Self}` does not write it",
    note = "for JSON, derive both: `#[derive(serde::Serialize, serde::Deserialize)]`, on fields that own what they hold",
    note = "for a codec of your own, implement `sagas::message::Encode<{T}>`"
)]
pub trait Encode<T>: 'static {
    /// The media type of the encoded value: the header `content-type`.
    const CONTENT_TYPE: &'static str;

    /// Encodes `value`.
    ///
    /// # Errors
    /// Returns an error if `value` cannot be encoded. It is a technical error of the handler that publishes the event: its writes are rolled
    /// back, and the message is tried again under its retry policy.
    fn encode(value: &T) -> Result<Vec<u8>, Fault>;
}

/// A codec that decodes `T`.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be read as `{Self}`",
    label = "`{Self}` does not read it",
    note = "for JSON, derive it: `#[derive(serde::Deserialize)]`, on fields that own what they hold",
    note = "for a codec of your own, implement `sagas::message::Decode<{T}>`"
)]
pub trait Decode<T>: 'static {
    /// Decodes a `T`.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a valid `T`. The record then becomes a dead letter. The error should name the invalid field.
    /// For a value that can be decoded later, it should be [`NotYet`].
    fn decode(value: &[u8]) -> Result<T, Fault>;
}

/// The error of a codec for a value that it cannot decode now and may be able to decode later, for example after it has requested a schema.
///
/// The record and its key wait, without a counted attempt, for at most [`put_off_limit_s`](crate::settings::Settings::put_off_limit_s).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct NotYet {
    /// The time after which the codec should be called again.
    pub after: Duration,
    /// The reason, for example the schema that the codec waits for.
    pub why: String,
}

impl NotYet {
    /// Creates the error: try again after `after`, because of `why`.
    pub fn new(after: Duration, why: impl Into<String>) -> Self {
        Self { after, why: why.into() }
    }
}

/// JSON, through serde: the default codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json;

#[diagnostic::do_not_recommend]
impl<T: Serialize> Encode<T> for Json {
    const CONTENT_TYPE: &'static str = "application/json";

    fn encode(value: &T) -> Result<Vec<u8>, Fault> {
        Ok(serde_json::to_vec(value)?)
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(value: &[u8]) -> Result<T, Fault> {
        serde_json::from_slice(value).map_err(|error| match field::<T>(value) {
            Some(field) => Fault::new(format!("field `{field}`: {error}")),
            None => error.into(),
        })
    }
}

/// Returns the path of the field at which decoding a `T` fails, unless the value as a whole is invalid.
///
/// It decodes the value a second time, so that values that can be decoded have no extra cost.
fn field<T: DeserializeOwned>(value: &[u8]) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(value);
    let error = serde_path_to_error::deserialize::<_, T>(&mut json).err()?;
    let path = error.path().to_string();
    (path != ".").then_some(path)
}
