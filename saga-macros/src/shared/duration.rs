//! Durations as string literals: `"200ms"`, `"1h30m"`, and ranges of them, `"200ms..30s"`.
//!
//! They have the form that `saga_core::time::duration` parses in configurations. The crate of the macros does not depend on that one: every
//! user would build the framework once more, for the compiler. So the parser is written twice; here it says what is wrong, as the compiler
//! shows it. `tests/values/durations.rs` compares the two.

use std::time::Duration;

/// The units and their milliseconds, longest first, which is the order in which they must be written.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A longer duration is a mistake: no attempt and no wait takes a month.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// Parses a duration such as `"30s"`; never zero.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence that begins with it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let mut milliseconds: u64 = 0;
    let mut rest = text;
    let mut units = UNITS.as_slice();
    if rest.is_empty() {
        return Err("is empty".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return Err("is not a whole number followed by a unit".to_owned());
        }
        if unit.is_empty() {
            return Err(if after.is_empty() {
                format!("has no unit after `{number}`")
            } else {
                "is not a whole number followed by a unit".to_owned()
            });
        }
        let Some(at) = units.iter().position(|(name, _)| *name == unit) else {
            return Err(if UNITS.iter().any(|(name, _)| *name == unit) {
                format!("has `{unit}` out of order: write longer units first, each once")
            } else {
                format!("has the unknown unit `{unit}`")
            });
        };
        let sum = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(units[at].1))
            .and_then(|part| milliseconds.checked_add(part))
            .filter(|sum| Duration::from_millis(*sum) <= LONGEST);
        milliseconds = sum.ok_or_else(|| "is longer than 30 days".to_owned())?;
        units = &units[at + 1..];
        rest = after;
    }
    if milliseconds == 0 {
        return Err("is zero".to_owned());
    }
    Ok(Duration::from_millis(milliseconds))
}

/// Parses a range such as `"200ms..30s"`; the first duration is not longer than the second.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence that begins with it.
pub(crate) fn duration_range(text: &str) -> Result<(Duration, Duration), String> {
    let Some((first, longest)) = text.split_once("..") else {
        return Err("is not a range".to_owned());
    };
    let part = |text: &str| duration(text).map_err(|wrong| format!("does not fit: `{text}` {wrong}"));
    let (from, to) = (part(first)?, part(longest)?);
    if from > to {
        return Err(format!("runs backwards: `{first}` is longer than `{longest}`"));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, milliseconds) in
            [("1ms", 1), ("200ms", 200), ("30s", 30_000), ("15m", 900_000), ("1h30m", 5_400_000), ("2d", 172_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_why() {
        for (text, why) in [
            ("", "is empty"),
            ("30", "has no unit after `30`"),
            ("s", "is not a whole number followed by a unit"),
            ("1.5s", "is not a whole number followed by a unit"),
            ("-1s", "is not a whole number followed by a unit"),
            ("30 s", "is not a whole number followed by a unit"),
            ("10sec", "has the unknown unit `sec`"),
            ("5s1m", "has `m` out of order: write longer units first, each once"),
            ("5s5s", "has `s` out of order: write longer units first, each once"),
            ("0s", "is zero"),
            ("31d", "is longer than 30 days"),
            ("99999999999999999999d", "is longer than 30 days"),
        ] {
            assert_eq!(duration(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn ranges_run_upwards() {
        assert_eq!(duration_range("200ms..30s"), Ok((Duration::from_millis(200), Duration::from_secs(30))));
        assert_eq!(duration_range("1s..1s"), Ok((Duration::from_secs(1), Duration::from_secs(1))));
        assert_eq!(duration_range("1s"), Err("is not a range".to_owned()));
        assert_eq!(duration_range("1s.."), Err("does not fit: `` is empty".to_owned()));
        assert_eq!(duration_range("30s..200ms"), Err("runs backwards: `30s` is longer than `200ms`".to_owned()));
    }
}
