//! The token of operators, for services that listen on more than a loopback address.

use std::{fmt, fs, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

/// The minimum length of a token: a shorter one could be guessed by trying.
const FEWEST: usize = 16;

/// The operator's token. Its value is not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorToken(String);

impl OperatorToken {
    /// Reads the token from the file at `path`, without surrounding white space.
    ///
    /// # Errors
    /// When the file cannot be read, or contains no valid token.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{place} cannot be read: {error}"))?;
        text.trim().parse().map_err(|why: String| format!("{place}: {why}"))
    }

    /// Returns this token if it is valid.
    ///
    /// # Errors
    /// When the token is too short, or contains characters that a header cannot.
    pub(crate) fn checked(self) -> Result<Self, String> {
        match self.0.len() >= FEWEST && self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(self),
            false => Err(format!("a token has {FEWEST} or more visible ASCII characters; `openssl rand -hex 32` makes one")),
        }
    }

    /// Returns the token as text.
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
