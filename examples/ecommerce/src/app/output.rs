//! What the program says: sentences for people, or one JSON value a line for programs. Logs go elsewhere.

use std::io::{self, Write};

use serde::Serialize;

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Results for people, or, with `json`, for programs.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are for programs.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Says something to people.
    pub(crate) fn say(self, text: impl std::fmt::Display) {
        if !self.json {
            line(text);
        }
    }

    /// Gives a result to programs.
    pub(crate) fn give(self, result: &impl Serialize) {
        if self.json
            && let Ok(result) = serde_json::to_string(result)
        {
            line(result);
        }
    }
}

/// A reader that went away is no reason to stop.
fn line(text: impl std::fmt::Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
