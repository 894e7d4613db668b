//! Undecoded records, for handlers that read them themselves.

use std::{any::type_name, ops::Deref, sync::Arc};

use serde::de::DeserializeOwned;

use super::{Decode, EventSet, EventType, Json, Record};
use crate::failure::Fault;

/// A record as the log has it, undecoded: `On<Raw>` is for topics with records that are not events, for example those of another producer.
///
/// The handler names the topic, `#[handler(topic = "transfers")]`. It takes each record of the topic, with or without a value, that no
/// other handler of the service takes by its type.
///
/// It dereferences to the [`Record`], with key, value and headers as fields.
///
/// ```
/// use saga_core::{extract::On, failure::Failure, message::Raw};
///
/// // #[handler(topic = "transfers")]
/// async fn transferred(On(record): On<Raw>) -> Result<(), Failure> {
///     match record.header("kind") {
///         Some("text/plain") => println!("{:?}", record.value),
///         _ => println!("{}", record.json::<serde_json::Value>()?),
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw(Arc<Record>);

impl Raw {
    pub(crate) fn of(record: &Arc<Record>) -> Self {
        Self(record.clone())
    }

    /// Decodes the value as JSON.
    ///
    /// # Errors
    /// Returns an error if the record has no value, or if the value is not a valid `T`. The error then names the field.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let value = self.0.value.as_deref().ok_or_else(|| Fault::new("the record has no value"))?;
        Json::decode(value).map_err(|fault| Fault::new(format!("the value is no `{}`: {fault}", type_name::<T>())))
    }
}

impl From<Record> for Raw {
    fn from(record: Record) -> Self {
        Self(Arc::new(record))
    }
}

impl Deref for Raw {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.0
    }
}

impl EventSet for Raw {
    const IS_RAW: bool = true;

    fn types() -> Vec<EventType> {
        vec![EventType::any()]
    }
}
