//! Identities. Those we make are UUIDs; products and customers are known by short texts of others.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuids {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )+};
}

uuids! {
    /// An order.
    OrderId,
    /// A payment.
    PaymentId,
    /// The units of one product held for one order.
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
    )+};
}

short_texts! {
    /// A product.
    ProductId,
    /// A customer.
    CustomerId,
}

/// Whether `text` is 1 to 100 characters without control characters.
///
/// # Errors
/// What it must be, in words.
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
    use super::short_text;

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
