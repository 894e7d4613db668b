//! Names in a picture. Those of a flow that was compiled are plain; one that was read from a database may hold anything.

use std::fmt::Write;

/// `text` in a Mermaid diagram: what could mean something there is written as a character's number.
pub(super) fn mermaid(text: &str) -> String {
    escaped(text, |c| c.is_alphanumeric() || " ,.()/_-".contains(c), |c| format!("#{};", u32::from(c)))
}

/// `text` as a Mermaid identifier.
pub(super) fn id(prefix: &str, text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    escaped(&format!("{prefix}{text}"), plain, |c| format!("_{:x}_", u32::from(c)))
}

/// `text` in quotes, for Graphviz.
pub(super) fn quoted(text: &str) -> String {
    let escaped = escaped(
        text,
        |c| !c.is_control() && c != '"' && c != '\\',
        |c| match c {
            '"' | '\\' => format!("\\{c}"),
            _ => " ".to_owned(),
        },
    );
    format!("\"{escaped}\"")
}

/// `text` in a cell of a Markdown table.
pub(super) fn cell(text: &str) -> String {
    escaped(
        text,
        |c| !c.is_control() && !"|`<>&\\*[]".contains(c),
        |c| {
            if c.is_control() { " ".to_owned() } else { format!("&#{};", u32::from(c)) }
        },
    )
}

fn escaped(text: &str, plain: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> String {
    text.chars().fold(String::new(), |mut all, c| {
        if plain(c) {
            all.push(c);
        } else {
            all.push_str(&escape(c));
        }
        all
    })
}

/// A length of time with its units, as `#[saga]` takes it: `15m`, `1h30m`.
pub(super) fn time(time: std::time::Duration) -> String {
    let mut left = time.as_millis();
    let mut text = String::new();
    for (unit, milliseconds) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= milliseconds {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{}{unit}", left / milliseconds);
            left %= milliseconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
