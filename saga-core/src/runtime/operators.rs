//! Who may read messages and act.
//!
//! Dead letters, flows and replays show what customers wrote, and change what becomes of it. On a loopback address everybody on the
//! machine may do so. On any other address it takes a token, and without one there are no operators.
//!
//! A page of another site is not on the machine, though the browser that shows it is: its name may be made to stand for the loopback
//! address (DNS rebinding), and then its requests come here and are its own to the browser. They name it in `Host`, so that there only
//! requests which name the machine, or the service, are of an operator.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use super::Service;

/// Who may use what a service shows to operators only: [`http::operators_only`](crate::http::operators_only) keeps others out.
#[derive(Clone)]
pub struct Operators(Access);

#[derive(Clone)]
enum Access {
    Anybody,
    /// Everybody on the machine, by these names too; others with the token, if there is one.
    Local(Arc<[String]>, Option<Arc<str>>),
    Token(Arc<str>),
    Nobody,
}

impl Operators {
    /// Those of a service that listens on `address`, or is served by an app of the caller's own, and has these names elsewhere.
    pub(crate) fn at(address: Option<SocketAddr>, token: Option<&str>, names: Vec<String>) -> Self {
        let loopback = address.map(|address| address.ip().to_canonical().is_loopback());
        Self(match (loopback, token) {
            (None, None) => Access::Anybody,
            (Some(true), token) => Access::Local(names.into(), token.map(Arc::from)),
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
            Access::Anybody | Access::Local(..) => true,
            Access::Nobody => false,
            Access::Token(expected) => is(token, expected),
        }
    }

    /// Whether they are told from others by the name that they ask for.
    #[cfg(feature = "openapi")]
    pub(crate) fn are_local(&self) -> bool {
        matches!(self.0, Access::Local(..))
    }

    /// Whether one of them asks for `authority`, a host with a port or without, and sends `token`, or none. What is no text is `None`.
    pub(crate) fn ask_for(&self, authority: Option<&str>, token: Option<&[u8]>) -> bool {
        let Access::Local(names, expected) = &self.0 else { return true };
        let known = |host: &str| is_of_this_machine(host) || names.iter().any(|name| same_name(name, host));
        authority.and_then(host).is_some_and(known) || expected.as_ref().is_some_and(|expected| is(token, expected))
    }
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Access::Anybody => "Operators(anybody)",
            Access::Local(..) => "Operators(on this machine)",
            Access::Token(_) => "Operators(with a token)",
            Access::Nobody => "Operators(nobody)",
        })
    }
}

impl Service {
    /// Says by what name, without a port, operators reach the service that listens on a loopback address, as through a proxy on the
    /// same machine: `shop.example`. There a request that reads messages or acts, and asks in `Host` neither for a loopback address nor for
    /// `localhost` nor for one of these names, is answered 421, unless it has the [`operator_token`](Self::operator_token). Whoever can
    /// reach the service by that name is an operator.
    #[must_use]
    pub fn public_name(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if host(&name).is_some_and(|host| host == name) {
            self.public_names.push(name);
        } else {
            let service = &self.name;
            self.problems.push(format!(
                "service `{service}`: `{name}` is no name of a host; write it without scheme and port, like `shop.example`"
            ));
        }
        self
    }
}

/// The host in `authority`, if that is one.
fn host(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let plain = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let digits = port.strip_prefix(':').or(port.is_empty().then_some(""))?;
    (plain && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

/// Whether `host` means the machine that asks for it, whatever any name server says.
fn is_of_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| same_name(host, "localhost"), |address| address.to_canonical().is_loopback())
}

/// A name may end with the dot of the root.
fn same_name(one: &str, other: &str) -> bool {
    fn bare(name: &str) -> &str {
        name.strip_suffix('.').unwrap_or(name)
    }
    bare(one).eq_ignore_ascii_case(bare(other))
}

fn is(token: Option<&[u8]>, expected: &str) -> bool {
    token.is_some_and(|token| same(token, expected.as_bytes()))
}

/// Whether they are the same, in a time that says nothing of where they differ.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differ = given.iter().zip(expected).fold(0, |differ, (one, other)| std::hint::black_box(differ | (one ^ other)));
    given.len() == expected.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask_for(authority: &str) -> bool {
        let names = vec!["shop.example".to_owned(), "[fd00::1]".to_owned()];
        Operators::at(Some(([127, 0, 0, 1], 8081).into()), None, names).ask_for(Some(authority), None)
    }

    #[test]
    fn the_machine_and_the_service_are_known_by_name() {
        for known in [
            "localhost",
            "LocalHost:8081",
            "localhost.",
            "localhost.:80",
            "127.0.0.1",
            "127.0.0.1:8081",
            "127.8.0.1:",
            "[::1]",
            "[::1]:8081",
            "[0:0:0:0:0:0:0:1]:1",
            "[::ffff:127.0.0.1]:1",
            "shop.example",
            "Shop.Example.:443",
            "[fd00::1]:1",
        ] {
            assert!(ask_for(known), "{known}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for other in [
            "",
            ":8081",
            ".",
            "evil.example",
            "evil.example:8081",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "127.0.0.1:80@evil.example",
            "127.0.0.1:80:80",
            "127.0.0.1, evil.example",
            "127.1",
            "2130706433",
            "0.0.0.0:8081",
            "10.0.0.1",
            "::1",
            "[::1",
            "[::1]evil.example",
            "[localhost]",
            "[::]",
            "shop.example.evil.example",
            "xshop.example",
            "localhost/",
            " localhost",
            "lo\u{441}alhost",
        ] {
            assert!(!ask_for(other), "{other}");
        }
    }

    #[test]
    fn a_token_stands_for_a_name() {
        let operators = Operators::at(Some(([127, 0, 0, 1], 8081).into()), Some("a-token-of-an-operator"), Vec::new());
        assert!(operators.ask_for(Some("evil.example"), Some(b"a-token-of-an-operator")));
        assert!(!operators.ask_for(Some("evil.example"), Some(b"another-token-of-an-op")));
        assert!(!operators.ask_for(Some("evil.example"), None));
        assert!(operators.ask_for(Some("localhost"), None));
    }

    #[test]
    fn elsewhere_names_say_nothing() {
        for address in [None, Some(([0, 0, 0, 0], 8081).into())] {
            for token in [None, Some("a-token-of-an-operator")] {
                assert!(Operators::at(address, token, Vec::new()).ask_for(Some("evil.example"), None), "{address:?} {token:?}");
            }
        }
    }

    #[test]
    fn a_public_name_is_that_of_a_host() {
        let named = |name: &str| Service::new("shop", crate::store::Database::memory()).public_name(name);
        for name in ["shop.example", "10.0.0.7", "[fd00::1]"] {
            assert_eq!((named(name).public_names, named(name).problems), (vec![name.to_owned()], vec![]));
        }
        for wrong in ["", "shop.example:443", "https://shop.example", "shop.example/", "fd00::1", "*"] {
            let problems = named(wrong).problems;
            assert!(problems.len() == 1 && problems[0].contains("like `shop.example`"), "{wrong}: {problems:?}");
        }
    }
}
