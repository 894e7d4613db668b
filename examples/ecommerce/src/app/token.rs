//! What operators say to services that listen on more than this machine.

use std::{fmt, fs, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

/// The fewest characters of a token: fewer can be tried out.
const FEWEST: usize = 16;

/// The operator's token. It is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorToken(String);

impl OperatorToken {
    /// The token in the file at `path`, without what is around it.
    ///
    /// # Errors
    /// When the file cannot be read, or has no token in it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{place} cannot be read: {error}"))?;
        text.trim().parse().map_err(|why: String| format!("{place}: {why}"))
    }

    /// This token, if it is one.
    ///
    /// # Errors
    /// When it can be tried out, or cannot be sent.
    pub(super) fn checked(self) -> Result<Self, String> {
        match self.0.len() >= FEWEST && self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(self),
            false => Err(format!("a token has {FEWEST} or more visible ASCII characters; `openssl rand -hex 32` makes one")),
        }
    }

    /// The token itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OperatorToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self(text.to_owned()).checked()
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_has_the_token_and_an_end_of_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            OperatorToken::read(&path)
        };
        assert_eq!(read("0123456789abcdef\r\n").unwrap().as_str(), "0123456789abcdef");
        for wrong in ["", "\n", "too-short", "0123456789 abcdef", "0123456789abcdé"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("16 or more visible ASCII characters"), "{error}");
        }
        assert!(OperatorToken::read(folder.path()).unwrap_err().contains("cannot be read"));
    }
}
