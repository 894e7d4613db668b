//! What the program says: sentences and tables for people, or one JSON value a line for programs. What is wrong goes elsewhere.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

use super::{trouble::Trouble, words::one_line};

/// Where results go.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
    gone: Cell<bool>,
}

impl Output {
    /// Results for people, or, with `json`, for programs.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal(), gone: Cell::new(false) }
    }

    /// Whether results are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether what needs a look may be coloured.
    pub(crate) fn has_colours(&self) -> bool {
        self.terminal && !self.json && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Whether whoever read this has gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Says something to people.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        if !self.json {
            self.line(text);
        }
    }

    /// Gives a result to programs.
    pub(crate) fn give(&self, result: &impl Serialize) {
        if self.json
            && let Ok(result) = serde_json::to_string(result)
        {
            self.line(harmless(&result));
        }
    }

    /// Makes room for what is shown again: an empty screen, or a line between the two.
    pub(crate) fn again(&self, first: bool) {
        match (self.json, self.terminal) {
            (true, _) => {}
            (false, true) => self.write("\u{1b}[H\u{1b}[2J"),
            (false, false) if first => {}
            (false, false) => self.line(""),
        }
    }

    fn line(&self, text: impl std::fmt::Display) {
        self.write(format_args!("{text}\n"));
    }

    fn write(&self, text: impl std::fmt::Display) {
        let mut stdout = io::stdout().lock();
        if write!(stdout, "{text}").and_then(|()| stdout.flush()).is_err() {
            self.gone.set(true);
        }
    }
}

/// JSON in one line, without the control characters that JSON lets stand and a terminal may take for commands.
fn harmless(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            control if control.is_control() => line.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => line.push(other),
        }
    }
    line
}

/// Says what is wrong.
pub(crate) fn complain(trouble: &Trouble) {
    let lines = trouble.to_string();
    let lines: Vec<_> = lines.lines().map(one_line).collect();
    let _ = writeln!(io::stderr(), "error: {}", lines.join("\n"));
}

/// Says something beside the results for programs.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn json_has_no_control_characters_and_says_the_same() {
        let text = "a\u{9b}31m\u{7f}\u{1b}[2J é";
        let json = serde_json::to_string(text).unwrap_or_default();
        assert!(!harmless(&json).chars().any(char::is_control));
        assert_eq!(serde_json::from_str::<String>(&harmless(&json)).ok().as_deref(), Some(text));
    }
}
