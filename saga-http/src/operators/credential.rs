//! The credentials of operators, and the operators they identify.

use std::{fmt, fs, path::Path, sync::Arc};

/// The shortest token, in characters: shorter ones can be guessed.
const FEWEST: usize = 16;

/// The longest recorded name of an operator, in characters.
const LONGEST_NAME: usize = 100;

/// The identity of an authenticated operator, from a token with a name or from a [layer](super::Operators::layer) that adds it to the
/// extensions of the request. A request with an operator is admitted, and its actions are recorded with this name as `by`.
///
/// ```
/// # use axum::{extract::Request, middleware::Next, response::Response};
/// # use saga_http::Operator;
/// async fn authenticate(mut request: Request, next: Next) -> Response {
///     // Any authentication: a session, a client certificate, or a header that your own proxy sets.
///     if let Some(name) = request.headers().get("x-verified-user").and_then(|name| name.to_str().ok()) {
///         let operator = Operator::new(name);
///         request.extensions_mut().insert(operator);
///     }
///     next.run(request).await
/// }
/// ```
///
/// A handler behind [`operators_only`](crate::operators_only) takes it as `Option<Extension<Operator>>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(Arc<str>);

impl Operator {
    /// Creates the operator `name`, without control characters and shortened to 100 characters. If the result is blank, it identifies no
    /// operator, and a request is not admitted because of it.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(name.as_ref().chars().filter(|character| !character.is_control()).take(LONGEST_NAME).collect::<String>().into())
    }

    /// The name of the operator.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether the name is not blank.
    pub(crate) fn is_named(&self) -> bool {
        !self.0.trim().is_empty()
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token as sent in `Authorization: Bearer`, and its operator. `Debug` does not show the token.
#[derive(Clone)]
pub(super) struct Token {
    secret: Arc<str>,
    pub(super) who: Option<Operator>,
}

impl Token {
    /// Creates a token, or returns what is wrong with `secret`.
    pub(super) fn new(secret: &str, who: Option<Operator>) -> Result<Self, String> {
        match secret.len() >= FEWEST && secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self { secret: secret.into(), who }),
            false => {
                Err(format!("an operators' token is {FEWEST} visible ASCII characters or more; `openssl rand -hex 32` makes one"))
            }
        }
    }

    /// Creates the token of the operator `who`.
    pub(super) fn of(who: Operator, secret: &str) -> Result<Self, String> {
        match who.is_named() {
            true => Self::new(secret, Some(who)),
            false => Err("an operator's token needs the name of the operator; give it in `Operators::token_of(..)`".to_owned()),
        }
    }

    /// Reads the token from the file at `path`, without the white space around it.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let text =
            fs::read_to_string(path).map_err(|error| format!("the operators' token in {place} cannot be read: {error}"))?;
        Self::new(text.trim(), None).map_err(|problem| format!("{place}: {problem}"))
    }

    /// Reads the token from the environment variable `name`.
    pub(super) fn of_environment(name: &str) -> Result<Self, String> {
        let value = std::env::var(name).map_err(|error| format!("the operators' token in the environment, {name}: {error}"))?;
        Self::new(value.trim(), None).map_err(|problem| format!("{name}: {problem}"))
    }

    /// Whether `given` is the token. The comparison takes a time that does not reveal where they differ.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let expected = self.secret.as_bytes();
        let differ = given.iter().zip(expected).fold(0, |differ, (one, other)| std::hint::black_box(differ | (one ^ other)));
        given.len() == expected.len() && differ == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("who", &self.who).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_token_and_an_end_of_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let read = |text: &str| {
            fs::write(&path, text).expect("it is written");
            Token::read(&path)
        };
        let token = read("0123456789abcdef\r\n").expect("a token");
        assert!(token.is(b"0123456789abcdef") && !token.is(b"0123456789abcdeg") && !token.is(b"0123456789abcde"));
        assert!(!token.is(b"0123456789abcdef0") && !token.is(b""));
        assert!(!format!("{token:?}").contains("0123"));
        for wrong in ["", "\n", "too-short", "0123456789 abcdef", "0123456789abcdé"] {
            let error = read(wrong).expect_err("no token");
            assert!(error.contains("16 visible ASCII characters") && error.contains(&path.display().to_string()), "{error}");
            assert!(wrong.trim().is_empty() || !error.contains(wrong), "{error}");
        }
        assert!(Token::read(&folder.path().join("nothing")).expect_err("no file").contains("cannot be read"));
    }

    #[test]
    fn a_name_fits_where_it_is_kept() {
        assert_eq!(Operator::new("ada@shop.example\n\0").name(), "ada@shop.example");
        assert_eq!(Operator::new("ä".repeat(300)).name().chars().count(), 100);
    }

    #[test]
    fn a_name_says_who_it_is() {
        for empty in ["", "\n\0", "\u{7f}", " \t "] {
            let operator = Operator::new(empty);
            assert!(!operator.is_named(), "{empty:?}");
            assert!(
                Token::of(operator, "0123456789abcdef").expect_err("no name").contains("needs the name of the operator"),
                "{empty:?}"
            );
        }
        assert!(Operator::new("a\n").is_named());
    }
}
