//! Converts serde's messages into the name of the invalid field and the reason. A message that names no field is the reason.

use super::Problem;

/// The maximum length of each text in a response, in bytes.
const LONGEST: usize = 300;

/// Returns the problem for an invalid value at `path` in `what`. The path `.` is the top level, which is reported under the name `what`.
pub(super) fn problem(what: &str, path: &str, message: &str) -> Problem {
    let path = if path == "." { "" } else { path };
    let (field, message) = if let Some((name, _)) = quoted(message, "missing field ") {
        (if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }, "is missing".to_owned())
    } else if let Some((name, _)) = quoted(message, "duplicate field ") {
        (join(path, name), "is given twice".to_owned())
    } else if let Some((name, rest)) = quoted(message, "unknown field ") {
        (join(path, name), unknown(rest))
    } else if let Some((_, rest)) = quoted(message, "unknown variant ") {
        (path.to_owned(), unknown(rest))
    } else {
        (path.to_owned(), message.to_owned())
    };
    self::field(what, &field, message)
}

/// Returns the problem with `field` of `what`. An empty name stands for the whole value.
pub(super) fn field(what: &str, field: &str, message: String) -> Problem {
    let (field, message) = (shortened(field.to_owned()), shortened(message));
    if field.is_empty() {
        return Problem::validation(format!("the {what} {message}")).field(what, message);
    }
    Problem::validation(format!("the {what} does not fit: {field}: {message}")).field(field, message)
}

/// Truncates text, because it can contain values from the request.
fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

/// Returns the name in backticks after `start`, and the text after it.
fn quoted<'a>(message: &'a str, start: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(start)?.strip_prefix('`')?.split_once('`')
}

/// Reformulates `, expected one of ..`.
fn unknown(rest: &str) -> String {
    let known = rest.trim_start_matches(", ");
    if let Some(list) = known.strip_prefix("expected one of ") {
        return format!("is not known; the known ones are {list}");
    }
    match known.strip_prefix("expected ") {
        Some(list) if list.contains("` or `") => format!("is not known; the known ones are {}", list.replace("` or `", "`, `")),
        Some(one) => format!("is not known; the only known one is {one}"),
        None => "is not known".to_owned(),
    }
}

/// Returns the path of `name` inside `path`, which may end with the name already.
fn join(path: &str, name: &str) -> String {
    if path.is_empty() || path == name {
        name.to_owned()
    } else if path.strip_suffix(name).is_some_and(|parent| parent.ends_with('.')) {
        path.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
