//! Durations as text: whole numbers with their units, longest first, as `250ms`, `8s`, `1h30m` or `7d`.
//!
//! ```
//! # use std::time::Duration;
//! use saga_core::time::duration;
//!
//! let deadline = Duration::from_secs(90 * 60);
//! assert_eq!(duration::parse("1h30m"), Some(deadline));
//! assert_eq!(duration::parse("90m"), Some(deadline));
//! assert_eq!(duration::parse("90"), None);
//! assert_eq!(duration::text(deadline), "1h30m");
//! ```

use std::{fmt::Write as _, time::Duration};

/// The form of a duration, for error messages.
pub const FORM: &str = "a whole number and its unit, as 250ms, 8s, 15m, 12h or 7d, or several, as 1h30m";

/// The units and their milliseconds, longest first. The macros have a parser of their own for their attributes.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a duration; `None` if `text` is not one, or exceeds 2⁶⁴ milliseconds. Each unit can be written once, longer units first.
pub fn parse(text: &str) -> Option<Duration> {
    let (mut millis, mut rest, mut units): (u64, _, _) = (0, text, UNITS.as_slice());
    loop {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let at = units.iter().position(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(units[at].1)?)?;
        (rest, units) = (after, &units[at + 1..]);
        if rest.is_empty() {
            return Some(Duration::from_millis(millis));
        }
    }
}

/// Formats `duration`, rounded down to the millisecond, so that [`parse`] reads it.
pub fn text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in UNITS {
        if rest >= millis {
            // Writing to a `String` does not fail.
            let _ = write!(text, "{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_the_duration_it_says() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("8s", Some(8_000)),
            ("15m", Some(900_000)),
            ("12h", Some(43_200_000)),
            ("7d", Some(604_800_000)),
            ("1h30m", Some(5_400_000)),
            ("1d1s1ms", Some(86_401_001)),
            ("90m", Some(5_400_000)),
            ("0ms", Some(0)),
            ("8", None),
            ("s", None),
            ("", None),
            ("-8s", None),
            ("1.5s", None),
            ("8 s", None),
            ("8sec", None),
            ("5s1m", None),
            ("5s5s", None),
            ("5s5", None),
            ("1h 30m", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("1s18446744073709551615ms", None),
        ] {
            assert_eq!(parse(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_with_its_units() {
        for (millis, written) in [
            (0, "0s"),
            (1, "1ms"),
            (200, "200ms"),
            (1_500, "1s500ms"),
            (90_000, "1m30s"),
            (120_000, "2m"),
            (5_400_000, "1h30m"),
            (86_400_000, "1d"),
            (86_401_001, "1d1s1ms"),
        ] {
            assert_eq!(text(Duration::from_millis(millis)), written);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(millis in any::<u64>()) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&text(duration)), Some(duration));
        }
    }
}
