//! The events that the services exchange, grouped by the service that publishes them, the values in these events, and the saga
//! that uses them.
//!
//! An event carries everything that its consumers need, so that no consumer has to query the producer. Values are validated when
//! they are decoded: a quantity is at least 1, an amount is not negative, a product id is a short text. A record that breaks
//! these rules becomes a dead letter.

mod ids;
mod inventory;
mod money;
mod notification;
mod order;
mod payment;
mod place_order;

pub use ids::{CustomerId, NotAUuid, NotificationId, OrderId, PaymentId, ProductId, ReservationId, short_text};
pub(crate) use ids::{text, text_or_null};
pub use inventory::{InventoryInsufficient, InventoryReleased, InventoryReserved, Missing, Released, Reservation};
pub use money::{Amount, AmountError, Currency, Money, NegativeMoney};
pub(crate) use money::{amount_or_null, price};
pub use notification::{Channel, Kind, NotificationFailed, NotificationSent, NotificationStatus};
pub use order::{OrderCancelled, OrderConfirmed, OrderCreated, OrderItem, OrderShipped, OrderStatus, Quantity};
pub use payment::{PaymentFailed, PaymentMethod, PaymentProcessed, PaymentRefunded, PaymentStatus};
pub use place_order::PlaceOrder;

/// Defines an enum whose variants are written as words in events, over HTTP and in the database.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        // Not derived: the derived impl would also accept `{"WORD": null}`.
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let text = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::String);
                text.enum_values(Some(Self::WORDS.iter().copied())).into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl $name {
            /// All values as words, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// Returns the value as a word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::contracts::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::contracts::UnknownWord { known: Self::WORDS }),
                }
            }
        }
    };
}
pub(crate) use words;

/// The error of a text that is not one of the allowed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}", .known.join(", "))]
pub struct UnknownWord {
    /// The allowed words.
    pub known: &'static [&'static str],
}
