//! Money: an integer number of minor units and a currency. Amounts are never floats, neither in events nor over HTTP.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, ObjectBuilder, RefOr, Schema, Type, schema::SchemaType},
};

use super::Quantity;

super::words! {
    /// A currency with two decimals.
    Currency {
        /// Euro.
        Eur = "EUR",
    }
}

/// A non-negative amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Money {
    minor_units: i64,
    currency: Currency,
}

/// The error of a stored amount below zero, which means that the row is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored amount {0} (in minor units) is damaged: no amount is negative")]
pub struct NegativeMoney(i64);

impl Money {
    /// Zero euros.
    pub const ZERO: Self = Self::eur(0);

    /// Returns an amount of `cents` euro cents.
    pub const fn eur(cents: u32) -> Self {
        Self { minor_units: cents as i64, currency: Currency::Eur }
    }

    /// Returns the amount that the database stores as `minor_units`.
    ///
    /// # Errors
    /// Returns [`NegativeMoney`] when `minor_units` is negative.
    pub const fn stored(minor_units: i64) -> Result<Self, NegativeMoney> {
        if minor_units < 0 {
            return Err(NegativeMoney(minor_units));
        }
        Ok(Self { minor_units, currency: Currency::Eur })
    }

    /// Returns the amount in minor units.
    pub const fn minor_units(self) -> i64 {
        self.minor_units
    }

    /// Returns the currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Returns the sum, or `None` when it overflows or the currencies differ.
    pub fn plus(self, other: Self) -> Option<Self> {
        let minor_units = self.minor_units.checked_add(other.minor_units)?;
        (self.currency == other.currency).then_some(Self { minor_units, ..self })
    }

    /// Returns whether this is at most `limit`. An amount in another currency never is.
    pub fn is_within(self, limit: Self) -> bool {
        self.currency == limit.currency && self.minor_units <= limit.minor_units
    }

    /// Returns this amount times `quantity`, or `None` when the product overflows.
    pub fn times(self, quantity: Quantity) -> Option<Self> {
        Some(Self { minor_units: self.minor_units.checked_mul(i64::from(quantity.units()))?, ..self })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Amount(*self), self.currency)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            minor_units: i64,
            currency: Currency,
        }
        let Wire { minor_units, currency } = Wire::deserialize(deserializer)?;
        if minor_units < 0 {
            return Err(de::Error::custom("an amount must not be negative"));
        }
        Ok(Self { minor_units, currency })
    }
}

/// Money as the REST interface writes it: a JSON number with two decimals, such as `19.99`, in euros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(pub Money);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:02}", self.0.minor_units / 100, self.0.minor_units % 100))
    }
}

fn amount() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(0))
        .multiple_of(Some(0.01))
        .description(Some("An amount in euro, written with two decimals."))
        .examples([serde_json::json!(19.99)])
}

/// The largest amount that a request can contain, in whole euros: without cents the limit is an integer, which the schema can state
/// exactly.
const MOST: i64 = i64::MAX / 100;

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        amount().into()
    }
}

impl ToSchema for Amount {}

/// Returns the schema of an [`Amount`] in a request that must be greater than 0.
pub(crate) fn price() -> Object {
    amount().minimum::<f64>(None).exclusive_minimum(Some(0)).maximum(Some(MOST)).build()
}

/// Returns the schema of an [`Amount`] in a request, or `null`.
pub(crate) fn amount_or_null() -> Object {
    amount().schema_type(SchemaType::from_iter([Type::Number, Type::Null])).maximum(Some(MOST)).build()
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer)?.get().parse().map_err(de::Error::custom)
    }
}

/// The error of a text that is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a JSON number: a string, an array, `null` and so on.
    #[error("must be a number")]
    NotANumber,
    /// A negative number.
    #[error("must not be negative")]
    Negative,
    /// A fraction of a cent, or digits after the second decimal.
    #[error("must have at most two decimals")]
    Decimals,
    /// An amount that overflows.
    #[error("is too large")]
    TooLarge,
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Parses a JSON number exactly.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (text, None),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        let has_fraction = !mantissa.contains('.') || !fraction.is_empty();
        if whole.is_empty() || !has_fraction || !digits().all(|digit| digit.is_ascii_digit()) {
            return Err(AmountError::NotANumber);
        }
        let zero = digits().all(|digit| digit == b'0');
        if negative && !zero {
            return Err(AmountError::Negative);
        }
        if exponent.is_none() && fraction.len() > 2 {
            return Err(AmountError::Decimals);
        }
        let exponent: i64 = match exponent {
            None => 0,
            Some(exponent) => match exponent.strip_prefix('+').unwrap_or(exponent).parse::<i64>() {
                Ok(exponent) => exponent,
                Err(_) if zero => 0,
                Err(_) if exponent.starts_with('-') => return Err(AmountError::Decimals),
                Err(_) => return Err(AmountError::TooLarge),
            },
        };
        if zero {
            return Ok(Self(Money::ZERO));
        }

        // The value is `digits × 10^shift` cents. Trailing zeros are counted in the shift, so that the remaining digits show
        // whether the value fits.
        let significant: Vec<u8> = digits().skip_while(|digit| *digit == b'0').collect();
        let trailing = significant.iter().rev().take_while(|digit| **digit == b'0').count();
        let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let shift = exponent.saturating_add(2).saturating_sub(length(fraction.len())).saturating_add(length(trailing));
        if shift < 0 {
            return Err(AmountError::Decimals);
        }
        let mut minor_units: i64 = 0;
        for digit in &significant[..significant.len() - trailing] {
            minor_units = minor_units
                .checked_mul(10)
                .and_then(|units| units.checked_add(i64::from(digit - b'0')))
                .ok_or(AmountError::TooLarge)?;
        }
        let factor = u32::try_from(shift).ok().and_then(|shift| 10_i64.checked_pow(shift));
        factor
            .and_then(|factor| minor_units.checked_mul(factor))
            .map(|minor_units| Self(Money { minor_units, currency: Currency::Eur }))
            .ok_or(AmountError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        let cases: &[(&str, Result<i64, AmountError>)] = &[
            ("19.99", Ok(1999)),
            ("0.30", Ok(30)),
            ("0.3", Ok(30)),
            ("19", Ok(1900)),
            ("19.9", Ok(1990)),
            ("0", Ok(0)),
            ("-0.00", Ok(0)),
            ("1e2", Ok(10_000)),
            ("1.5E+1", Ok(1500)),
            ("1999e-2", Ok(1999)),
            ("1990.00e-2", Ok(1990)),
            ("92233720368547758.07", Ok(i64::MAX)),
            ("92233720368547758.08", Err(AmountError::TooLarge)),
            ("1e17", Err(AmountError::TooLarge)),
            ("1e999999999999999999999", Err(AmountError::TooLarge)),
            ("0e999999999999999999999", Ok(0)),
            ("1e-999999999999999999999", Err(AmountError::Decimals)),
            ("1e-3", Err(AmountError::Decimals)),
            ("19.999", Err(AmountError::Decimals)),
            ("19.990", Err(AmountError::Decimals)),
            ("-0.01", Err(AmountError::Negative)),
            ("-5", Err(AmountError::Negative)),
            ("\"19.99\"", Err(AmountError::NotANumber)),
            ("null", Err(AmountError::NotANumber)),
            ("true", Err(AmountError::NotANumber)),
            ("[1]", Err(AmountError::NotANumber)),
            ("", Err(AmountError::NotANumber)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Amount>().map(|amount| amount.0.minor_units()), *expected, "{text}");
        }
    }

    #[test]
    fn amounts_are_written_with_two_decimals() -> Result<(), serde_json::Error> {
        for (minor_units, text) in [(1999, "19.99"), (30, "0.30"), (0, "0.00"), (190_000, "1900.00"), (5, "0.05")] {
            assert_eq!(serde_json::to_string(&Amount(Money::eur(minor_units)))?, text);
        }
        Ok(())
    }

    #[test]
    fn money_has_minor_units_on_the_wire_and_is_never_negative() -> Result<(), serde_json::Error> {
        assert_eq!(serde_json::to_string(&Money::eur(1990))?, r#"{"minor_units":1990,"currency":"EUR"}"#);
        assert!(serde_json::from_str::<Money>(r#"{"minor_units":-1,"currency":"EUR"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"minor_units":1.5,"currency":"EUR"}"#).is_err());
        Ok(())
    }

    #[test]
    fn a_damaged_row_is_no_amount() {
        assert_eq!(Money::stored(1980), Ok(Money::eur(1980)));
        assert_eq!(Money::stored(-1), Err(NegativeMoney(-1)));
    }

    #[test]
    fn sums_are_checked() {
        let largest = Money { minor_units: i64::MAX, ..Money::ZERO };
        assert_eq!(largest.plus(Money::eur(1)), None);
        assert_eq!(Money::eur(990).times(Quantity(NonZeroU32::MIN.saturating_add(1))), Some(Money::eur(1980)));
        assert_eq!(largest.times(Quantity(NonZeroU32::MAX)), None);
    }
}
