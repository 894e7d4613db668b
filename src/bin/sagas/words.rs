//! Formatting of times and names.

use std::time::Duration;

use sagas::time::Timestamp;

/// A duration in its two largest units: `850ms`, `42s`, `4m10s`, `3h05m`, `2d4h`.
pub(crate) fn span(length: Duration) -> String {
    let (millis, seconds) = (length.as_millis(), length.as_secs());
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// The time from `start` to `at`, with milliseconds below one minute.
pub(crate) fn after(start: Timestamp, at: Timestamp) -> String {
    if at < start {
        return format!("-{}", span(start.since(at)));
    }
    let since = at.since(start);
    match since.as_secs() {
        0..60 => format!("+{}.{:03}s", since.as_secs(), since.subsec_millis()),
        _ => format!("+{}", span(since)),
    }
}

/// The time from `now` to `at`, or how long it is overdue.
pub(crate) fn until(at: Timestamp, now: Timestamp) -> String {
    match at > now {
        true => format!("in {}", span(at.since(now))),
        false => format!("{} overdue", span(now.since(at))),
    }
}

/// `count` with the noun `one` for a count of one, or `many` otherwise.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `text` in one line, with the control characters escaped that a terminal could interpret.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' if line.ends_with(' ') => {}
            '\n' | '\r' | '\t' => line.push(' '),
            other if other.is_control() => line.extend(other.escape_unicode()),
            other => line.push(other),
        }
    }
    line
}

/// Percent-encodes `text` as one segment of a URL path.
pub(crate) fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => segment.push(char::from(byte)),
            other => segment.push_str(&format!("%{other:02X}")),
        }
    }
    segment
}
