//! Turns serde's messages into which field is wrong and how.

use super::{Problem, expected::told};

/// The longest part of an answer, in bytes.
const LONGEST: usize = 300;

/// The problem for a value that does not fit, found at `path` in `what`: `.` is the top, which is called as `what` is.
pub(super) fn problem(what: &str, path: &str, message: &str) -> Problem {
    let path = if path == "." { "" } else { path };
    let (field, message) = if let Some((name, _)) = quoted(message, "missing field ") {
        (if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }, "is missing".to_owned())
    } else if let Some((name, _)) = quoted(message, "duplicate field ") {
        (join(path, name), "is there twice".to_owned())
    } else if let Some((name, rest)) = quoted(message, "unknown field ") {
        (join(path, name), unknown(rest))
    } else if let Some((_, rest)) = quoted(message, "unknown variant ") {
        (path.to_owned(), unknown(rest))
    } else {
        (path.to_owned(), told(message))
    };
    self::field(what, &field, message)
}

/// The problem with `field` of `what`; without a name, with all of it.
pub(super) fn field(what: &str, field: &str, message: String) -> Problem {
    let (field, message) = (shortened(field.to_owned()), shortened(message));
    if field.is_empty() {
        return Problem::validation(format!("the {what} {message}")).field(what, message);
    }
    Problem::validation(format!("the {what} does not fit: {field}: {message}")).field(field, message)
}

/// What the request says itself comes back in part at most.
fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

/// The name that stands in backticks behind `start`, and what follows it.
fn quoted<'a>(message: &'a str, start: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(start)?.strip_prefix('`')?.split_once('`')
}

/// `, expected one of ..` as a sentence of ours.
fn unknown(rest: &str) -> String {
    let known = rest.trim_start_matches(", ");
    if let Some(list) = known.strip_prefix("expected one of ") {
        return format!("is not known; known are {list}");
    }
    match known.strip_prefix("expected ") {
        Some(list) if list.contains("` or `") => format!("is not known; known are {}", list.replace("` or `", "`, `")),
        Some(one) => format!("is not known; known is {one}"),
        None => "is not known".to_owned(),
    }
}

/// `name` inside `path`, whether or not the path ends with it already.
fn join(path: &str, name: &str) -> String {
    if path.is_empty() || path == name {
        name.to_owned()
    } else if path.strip_suffix(name).is_some_and(|parent| parent.ends_with('.')) {
        path.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
