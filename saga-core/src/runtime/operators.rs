//! Who may read messages and act.
//!
//! Dead letters, flows and replays show what customers wrote, and change what becomes of it. On a loopback address everybody on the
//! machine may do so. On any other address it takes a token, and without one there are no operators.

use std::{fmt, net::SocketAddr, sync::Arc};

/// Who may use what a service shows to operators only: [`http::operators_only`](crate::http::operators_only) keeps others out.
#[derive(Clone)]
pub struct Operators(Access);

#[derive(Clone)]
enum Access {
    Anybody,
    Token(Arc<str>),
    Nobody,
}

impl Operators {
    /// Those of a service that listens on `address`, or is served by an app of the caller's own.
    pub(crate) fn at(address: Option<SocketAddr>, token: Option<&str>) -> Self {
        let loopback = address.map(|address| address.ip().to_canonical().is_loopback());
        Self(match (loopback, token) {
            (Some(true), _) | (None, None) => Access::Anybody,
            (_, Some(token)) => Access::Token(token.into()),
            (Some(false), None) => Access::Nobody,
        })
    }

    /// Whether there are any: otherwise what is for them is not there at all.
    pub fn exist(&self) -> bool {
        !matches!(self.0, Access::Nobody)
    }

    /// Whether they have to send the operator's token, in `Authorization: Bearer`.
    pub fn need_a_token(&self) -> bool {
        matches!(self.0, Access::Token(_))
    }

    /// Whether who sends `token`, or none, is one of them.
    pub fn admit(&self, token: Option<&[u8]>) -> bool {
        match &self.0 {
            Access::Anybody => true,
            Access::Nobody => false,
            Access::Token(expected) => token.is_some_and(|token| same(token, expected.as_bytes())),
        }
    }
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Access::Anybody => "Operators(anybody)",
            Access::Token(_) => "Operators(with a token)",
            Access::Nobody => "Operators(nobody)",
        })
    }
}

/// Whether they are the same, in a time that says nothing of where they differ.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differ = given.iter().zip(expected).fold(0, |differ, (one, other)| std::hint::black_box(differ | (one ^ other)));
    given.len() == expected.len() && differ == 0
}
