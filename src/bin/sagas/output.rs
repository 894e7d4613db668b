//! The output of the program: text and tables for people, or one JSON value per line for programs. Errors and notes go to stderr.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

use super::{error::CliError, words::one_line};

/// Writes the results to stdout.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
    gone: Cell<bool>,
}

impl Output {
    /// Creates an output for people or, with `json`, for programs.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal(), gone: Cell::new(false) }
    }

    /// Whether the output is for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether cells that need attention can be coloured.
    pub(crate) fn has_colours(&self) -> bool {
        self.terminal && !self.json && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Whether the reader of stdout has closed it.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Writes a line for people.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        if !self.json {
            self.line(text);
        }
    }

    /// Writes a result for programs.
    pub(crate) fn give(&self, result: &impl Serialize) {
        if self.json
            && let Ok(result) = serde_json::to_string(result)
        {
            self.line(harmless(&result));
        }
    }

    /// Prepares for repeated output: clears the terminal, or writes an empty line between two outputs.
    pub(crate) fn again(&self, first: bool) {
        match (self.json, self.terminal) {
            (true, _) => {}
            (false, true) => self.write("\u{1b}[H\u{1b}[2J"),
            (false, false) if first => {}
            (false, false) => self.line(""),
        }
    }

    /// Writes a text as it is, for programs and people.
    pub(crate) fn text(&self, text: &str) {
        self.write(text);
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

/// Escapes the control characters that JSON allows and that a terminal could interpret.
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

/// Writes an error to stderr.
pub(crate) fn complain(trouble: &CliError) {
    let lines = trouble.to_string();
    let lines: Vec<_> = lines.lines().map(one_line).collect();
    let _ = writeln!(io::stderr(), "error: {}", lines.join("\n"));
}

/// Writes a note to stderr, so that it is not part of the results for programs.
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
