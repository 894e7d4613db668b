//! Escaping of names for each format. Names can contain anything.

use std::fmt::Write;

/// Returns `text` on one line; `?` if nothing of it is visible.
fn line(text: &str) -> String {
    let visible = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = visible.collect::<Vec<_>>().join(" ");
    if line.is_empty() { "?".to_owned() } else { line }
}

/// Returns `text` for a label in Mermaid. Each character that may have a meaning there becomes a character code.
pub(super) fn mermaid(text: &str) -> String {
    line(text).chars().fold(String::new(), |mut label, c| {
        if c.is_alphanumeric() || " _-.,()/".contains(c) {
            label.push(c);
        } else {
            // Writing to a `String` does not fail.
            let _ = write!(label, "#{};", u32::from(c));
        }
        label
    })
}

/// Returns `text` for a quoted string in Graphviz.
pub(super) fn dot(text: &str) -> String {
    line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

/// Returns plain `text` for a table cell in Markdown.
pub(super) fn cell(text: &str) -> String {
    line(text).chars().fold(String::new(), |mut cell, c| {
        if "\\`*_[]<>|~#$&!".contains(c) {
            cell.push('\\');
        }
        cell.push(c);
        cell
    })
}

/// Returns `text`, which is Markdown itself, for a table cell.
pub(super) fn prose(text: &str) -> String {
    let (mut cell, mut escaped) = (String::new(), false);
    for c in line(text).chars() {
        if c == '|' && !escaped {
            cell.push('\\');
        }
        escaped = c == '\\' && !escaped;
        cell.push(c);
    }
    // A backslash at the end would escape the border of the cell.
    if escaped {
        cell.push('\\');
    }
    cell
}

/// Returns an identifier for the element `name` at position `place` of its kind. It contains the name if each format accepts it, and the
/// position otherwise. The prefix `kind` keeps it from being a keyword.
pub(super) fn identifier(kind: &str, place: usize, name: &str) -> String {
    let plain =
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { format!("{kind}_{name}") } else { format!("{kind}_{place}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_gets_what_it_can_read() {
        for (text, in_mermaid, in_dot, in_cell) in [
            ("OrderCreated", "OrderCreated", "OrderCreated", "OrderCreated"),
            ("a\n  b\tc\u{2028}d", "a b c d", "a b c d", "a b c d"),
            ("say \"no\"", "say #34;no#34;", "say \\\"no\\\"", "say \"no\""),
            ("a|b:c;d", "a#124;b#58;c#59;d", "a|b:c;d", "a\\|b:c;d"),
            ("back\\", "back#92;", "back\\\\", "back\\\\"),
            ("<b>#1%%", "#60;b#62;#35;1#37;#37;", "<b>#1%%", "\\<b\\>\\#1%%"),
            ("order_paid", "order_paid", "order_paid", "order\\_paid"),
            ("größe", "größe", "größe", "größe"),
            (" \r\n", "#63;", "?", "?"),
        ] {
            let got = (mermaid(text), dot(text), cell(text));
            assert_eq!(got, (in_mermaid.to_owned(), in_dot.to_owned(), in_cell.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn prose_keeps_its_markdown_inside_its_cell() {
        for (text, expected) in [
            ("Takes `money`\nfrom *somebody*.", "Takes `money` from *somebody*."),
            ("a | b", "a \\| b"),
            ("a \\| b", "a \\| b"),
            ("a \\\\| b", "a \\\\\\| b"),
            ("a \\", "a \\\\"),
        ] {
            assert_eq!(prose(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_identifier_is_the_name_if_it_can_be() {
        for (name, expected) in
            [("Pay", "do_Pay"), ("end", "do_end"), ("a-b", "do_7"), ("7", "do_7"), ("", "do_7"), ("Größe", "do_7")]
        {
            assert_eq!(identifier("do", 7, name), expected, "{name:?}");
        }
    }
}
