//! Time: UTC instants in milliseconds, the clock that they are read from, which tests can control, durations as text, and the waits between
//! attempts.

mod backoff;
mod clock;
pub mod duration;
#[cfg(feature = "schema")]
mod schema;
mod steady;

use std::{fmt, time::Duration};

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(crate) use backoff::spread;
pub use {backoff::doubling, clock::Clock};

/// An instant in UTC, in milliseconds, from the year 0000 to the year 9999. `Display` and JSON use RFC 3339 with milliseconds.
///
/// These are the years that RFC 3339 can represent, so every instant can be written and read again. Constructors and arithmetic saturate at
/// the bounds: they never fail or overflow.
///
///
/// ```
/// # use saga_core::time::Timestamp;
/// let at = Timestamp::from_millis(1_700_000_000_123);
/// assert_eq!(at.to_string(), "2023-11-14T22:13:20.123Z");
/// assert_eq!("2023-11-14T22:13:20.123Z".parse::<Timestamp>().unwrap(), at);
/// // Microseconds, mistaken for milliseconds:
/// assert_eq!(Timestamp::from_millis(1_700_000_000_123_456).to_string(), "9999-12-31T23:59:59.999Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant: 0000-01-01T00:00:00.000Z.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// The latest instant: 9999-12-31T23:59:59.999Z. As a due time, it means never.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Creates the instant `millis` milliseconds after 1970-01-01T00:00:00Z, saturated at the bounds.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns this instant moved forward by `by`, at most to [`MAX`](Self::MAX).
    pub fn after(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis(by)))
    }

    /// Returns this instant moved back by `by`, at most to [`MIN`](Self::MIN).
    pub fn before(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(millis(by)))
    }

    /// Returns the duration from `earlier` to this instant; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(period: Duration) -> i64 {
    i64::try_from(period.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000)).map_err(|_| fmt::Error)?;
        let (date, time) = (at.date(), at.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            self.0.rem_euclid(1000)
        )
    }
}

/// The error for a text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no RFC 3339 time; write it like 2026-01-31T12:00:00.000Z")]
pub struct ParseTimestampError(String);

/// The most characters of the text that a [`ParseTimestampError`] contains.
const SHOWN: usize = 40;

impl ParseTimestampError {
    /// Keeps the beginning of the text and escapes control characters: the text can come from anywhere, and a terminal may interpret them.
    fn of(text: &str) -> Self {
        let shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        Self(if text.chars().nth(SHOWN).is_some() { format!("{shown}...") } else { shown })
    }
}

impl std::str::FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Parses RFC 3339, with any offset. A time that its offset moves out of the years 0000 to 9999 becomes the nearest bound. A leap
    /// second becomes the last millisecond before it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| ParseTimestampError::of(text))?;
        let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
        Ok(Self::from_millis(i64::try_from(millis).unwrap_or(if millis < 0 { i64::MIN } else { i64::MAX })))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The timestamp of a record as the log stores it: a number that should be milliseconds since 1970.
///
/// The producer sets it, so it can have another unit or be negative. -1 is Kafka's value for no timestamp. The number is kept unchanged;
/// [`time`](Self::time) returns the instant if it is a plausible one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogTime(i64);

impl LogTime {
    /// No timestamp.
    pub const NONE: Self = Self(-1);

    /// Creates the timestamp from the number in the log.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the number, unchanged.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the instant, if the number is one from 1970 to the end of the year 9999.
    pub fn time(self) -> Option<Timestamp> {
        (0..=Timestamp::MAX.0).contains(&self.0).then_some(Timestamp(self.0))
    }
}

impl From<Timestamp> for LogTime {
    fn from(at: Timestamp) -> Self {
        Self(at.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_instant_is_written_and_read_again(millis in any::<i64>(), by in any::<u64>()) {
            let by = Duration::from_millis(by);
            let at = Timestamp::from_millis(millis);
            for at in [at, at.after(by), at.before(by), Timestamp::MIN.after(by), Timestamp::MAX.before(by)] {
                let text = at.to_string();
                prop_assert_eq!(text.parse(), Ok(at));
                prop_assert_eq!(serde_json::from_str::<Timestamp>(&serde_json::to_string(&at)?)?, at);
                prop_assert_eq!(Timestamp::from_millis(at.as_millis()), at);
                prop_assert_eq!(text.len(), 24);
            }
        }

        #[test]
        fn any_text_is_a_time_or_refused_in_few_words(text in ".{0,200}") {
            if let Err(error) = text.parse::<Timestamp>() {
                let error = error.to_string();
                prop_assert!(error.len() < 1_000 && !error.chars().any(char::is_control), "{}", error);
            }
        }
    }

    #[test]
    fn what_an_offset_moves_out_of_the_years_is_a_bound() {
        for (text, shown) in [
            ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999Z"),
            ("0000-01-01T00:00:00+23:59", "0000-01-01T00:00:00.000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999Z"),
            ("2026-01-31T12:00:00.123456789+02:00", "2026-01-31T10:00:00.123Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().map(|at| at.to_string()), Ok(shown.to_owned()), "{text}");
        }
        for text in ["10000-01-01T00:00:00Z", "+2026-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "1700000000000", "", "\u{1b}[2J"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_logs_number_is_a_time_where_it_can_be() {
        for (number, time) in [(0, Some(0)), (1_767_225_600_000, Some(1_767_225_600_000)), (-1, None), (i64::MIN, None)] {
            assert_eq!(LogTime::from_millis(number).time(), time.map(Timestamp::from_millis));
        }
        let micros = LogTime::from_millis(1_767_225_600_000_000);
        assert_eq!((micros.time(), micros.as_millis(), LogTime::NONE.time()), (None, 1_767_225_600_000_000, None));
    }
}
