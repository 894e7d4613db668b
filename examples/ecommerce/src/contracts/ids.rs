//! Ids. The services create UUIDs for what they own; ids of products and customers are short texts that others choose.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, ObjectBuilder, RefOr, Schema, Type, schema::SchemaType},
};
use uuid::Uuid;

/// The error of a text that is not a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID")]
pub struct NotAUuid;

macro_rules! uuids {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        // Not derived: serde's own error would describe how the text was parsed.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NotAUuid;

            fn from_str(text: &str) -> Result<Self, NotAUuid> {
                text.parse().map(Self).map_err(|_| NotAUuid)
            }
        }
    )+};
}

uuids! {
    /// An order.
    OrderId,
    /// A payment.
    PaymentId,
    /// A reservation: the units of one product held for one order.
    ReservationId,
    /// A notification.
    NotificationId,
}

macro_rules! short_texts {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text().into()
            }
        }

        impl ToSchema for $name {}

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                short_text(&text)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }
    )+};
}

short_texts! {
    /// A product.
    ProductId,
    /// A customer.
    CustomerId,
}

/// Returns the schema of a [`short_text`].
pub(crate) fn text() -> Object {
    words(Type::String.into())
}

/// Returns the schema of a [`short_text`] or `null`.
pub(crate) fn text_or_null() -> Object {
    words([Type::String, Type::Null].into_iter().collect())
}

fn words(kind: SchemaType) -> Object {
    let pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$";
    ObjectBuilder::new().schema_type(kind).min_length(Some(1)).max_length(Some(100)).pattern(Some(pattern)).build()
}

/// Checks that `text` has 1 to 100 characters and no control characters.
///
/// # Errors
/// Returns the rule that `text` breaks, such as `must be 1 to 100 characters`.
pub fn short_text(text: &str) -> Result<(), &'static str> {
    if !(1..=100).contains(&text.chars().count()) {
        Err("must be 1 to 100 characters")
    } else if text.chars().any(char::is_control) {
        Err("must not contain control characters")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{OrderId, short_text};

    #[test]
    fn a_bad_id_is_told_in_our_words() {
        let id = "\"0190a8a0-0000-7000-8000-000000000000\"";
        assert_eq!(serde_json::from_str::<OrderId>(id).map(|id| id.0.get_version_num()).ok(), Some(7));
        for bad in ["\"abc\"", "\"\"", "\"0190a8a0-0000-7000-8000-00000000000g\""] {
            let error = serde_json::from_str::<OrderId>(bad).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|error| error.starts_with("must be a UUID")), "{bad}: {error:?}");
        }
    }

    #[test]
    fn short_texts_are_counted_in_characters() {
        let longest = "ä".repeat(100);
        for fits in ["a", "tea", "ünïcode 茶", longest.as_str()] {
            assert_eq!(short_text(fits), Ok(()), "{fits}");
        }
        let too_long = "a".repeat(101);
        for bad in ["", "a\nb", "\u{7f}", "a\0", too_long.as_str()] {
            assert!(short_text(bad).is_err(), "{bad:?}");
        }
    }
}
