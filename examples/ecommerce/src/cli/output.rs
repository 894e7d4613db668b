//! The program's output: sentences for people, or one JSON value per line for programs. Logs go to standard error.

use std::io::{self, Write};

use serde::Serialize;

/// Prints results to standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Creates an output for people or, with `json`, for programs.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Returns whether results are for programs.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints `text`, for people only.
    pub(crate) fn say(self, text: impl std::fmt::Display) {
        if !self.json {
            line(text);
        }
    }

    /// Prints `result` as JSON, for programs only.
    pub(crate) fn give(self, result: &impl Serialize) {
        if self.json
            && let Ok(result) = serde_json::to_string(result)
        {
            line(result);
        }
    }
}

/// Write errors are ignored: a closed pipe must not stop the program.
fn line(text: impl std::fmt::Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
