//! Time as the framework sees it: UTC instants in milliseconds, read from a clock that tests can hold still.

mod clock;
mod steady;

use std::{fmt, time::Duration};

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use clock::Clock;

/// An instant in UTC, in milliseconds, from the year 0000 to the year 9999. Shown, and written in JSON, as RFC 3339 with milliseconds.
///
/// Those are the years that RFC 3339 can write, so every instant can be written and read again. What is before or after them is the
/// nearest bound: no constructor and no arithmetic fails or overflows.
///
/// ```
/// # use saga_core::time::Timestamp;
/// let at = Timestamp::from_millis(1_700_000_000_123);
/// assert_eq!(at.to_string(), "2023-11-14T22:13:20.123Z");
/// assert_eq!("2023-11-14T22:13:20.123Z".parse::<Timestamp>().unwrap(), at);
/// // Microseconds, taken for milliseconds:
/// assert_eq!(Timestamp::from_millis(1_700_000_000_123_456).to_string(), "9999-12-31T23:59:59.999Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant: 0000-01-01T00:00:00.000Z.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// The latest instant: 9999-12-31T23:59:59.999Z. What is due then waits for no time.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// The instant `millis` milliseconds after 1970-01-01T00:00:00Z, or the bound that is nearest to it.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant moved forward by `by`, at most to [`MAX`](Self::MAX).
    pub fn after(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis(by)))
    }

    /// This instant moved back by `by`, at most to [`MIN`](Self::MIN).
    pub fn before(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(millis(by)))
    }

    /// How long it is from `earlier` to this instant; zero if it is not earlier.
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

/// A text that is no RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no RFC 3339 time; write it like 2026-01-31T12:00:00.000Z")]
pub struct ParseTimestampError(String);

/// The most characters of a text that a [`ParseTimestampError`] shows.
const SHOWN: usize = 40;

impl ParseTimestampError {
    /// The text may come from anywhere: its beginning is shown, without what a terminal would take for a command.
    fn of(text: &str) -> Self {
        let shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        Self(if text.chars().nth(SHOWN).is_some() { format!("{shown}...") } else { shown })
    }
}

impl std::str::FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Reads RFC 3339, with any offset. What its offset moves out of the years 0000 to 9999 is the nearest bound; a leap second is the
    /// last millisecond before it.
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

/// The timestamp of a record as its log has it: a number that should be milliseconds since 1970. Its producer sets it as it likes, so
/// it may be of another unit, negative, or -1, which is Kafka's word for none. It is kept as it is, and is an instant only where
/// [`time`](Self::time) says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogTime(i64);

impl LogTime {
    /// None.
    pub const NONE: Self = Self(-1);

    /// This number.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The number, as it is.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The instant, if the number is one from 1970 to the year 9999.
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
