//! Who is admitted to operator routes.
//!
//! A page of another site can reach routes that are open to this machine, because the browser that shows it runs on this machine: with DNS
//! rebinding, the name of that site resolves to the loopback address, and the browser treats the service as part of the site. Such requests
//! carry the site's name in `Host`. So routes that are open to this machine are open only to requests that name the machine or the service.

use std::{fmt, sync::Arc};

use axum::Router;

use super::{
    credential::{Operator, Token},
    host::{host, is_of_this_machine, same_name},
};

/// A user-defined authentication, applied to routes.
pub(super) type Authentication = Arc<dyn Fn(Router) -> Router + Send + Sync>;

/// Who can use a group of operator routes.
#[derive(Clone)]
pub(crate) struct Access(Arc<Rules>);

pub(super) struct Rules {
    /// Whether the routes are served at all.
    pub(super) there: bool,
    /// Whether they are open to this machine.
    pub(super) machine: bool,
    /// Host names under which operators reach the routes, in addition to those of this machine.
    pub(super) names: Vec<String>,
    pub(super) tokens: Vec<Token>,
    pub(super) layers: Vec<Authentication>,
}

/// The decision on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Admitted, as this operator.
    As(Operator),
    /// Admitted, without an identity.
    Unnamed,
    /// Not admitted: it has no valid credential.
    Unauthenticated,
    /// Not admitted: it comes from this machine, but names another host.
    Misdirected,
}

impl Access {
    pub(super) fn new(rules: Rules) -> Self {
        Self(Arc::new(rules))
    }

    /// Whether the routes are served at all.
    pub(crate) fn exists(&self) -> bool {
        self.0.there
    }

    /// Returns the error text for a request without a valid credential.
    pub(crate) fn refusal(&self) -> &'static str {
        match (self.0.tokens.is_empty(), self.0.layers.is_empty()) {
            (false, _) => "this is for operators: send an operator's token in `Authorization: Bearer`",
            (true, false) => "this is for operators, and the request has no credential of an operator",
            (true, true) => {
                "this is for operators, and they have no credential here: give the service's operators a token or a layer"
            }
        }
    }

    /// Whether the routes require a credential.
    #[cfg(any(feature = "openapi", test))]
    pub(crate) fn takes_a_credential(&self) -> bool {
        !self.0.machine
    }

    /// Applies the user-defined authentication to `routes`.
    pub(crate) fn authenticated(&self, routes: Router) -> Router {
        self.0.layers.iter().fold(routes, |routes, layer| layer(routes))
    }

    /// Decides on a request with this `token`, if any. `on_loopback` is whether its listener is on a loopback address, and `asked_for` are
    /// the authorities it names, each a host with or without a port; `None` is one that is not text.
    pub(crate) fn admit<'a>(
        &self,
        token: Option<&[u8]>,
        on_loopback: bool,
        mut asked_for: impl Iterator<Item = Option<&'a str>>,
    ) -> Admission {
        // All tokens are compared, so that the time does not reveal which one matches.
        let sent = token.map(|given| self.0.tokens.iter().filter(|token| token.is(given)).fold(None, |_, token| Some(token)));
        match (sent.flatten(), self.0.machine && on_loopback) {
            (Some(token), _) => token.who.clone().map_or(Admission::Unnamed, Admission::As),
            (None, false) => Admission::Unauthenticated,
            (None, true) => {
                let known = |host: &str| is_of_this_machine(host) || self.is_public_name(host);
                match asked_for.all(|authority| authority.and_then(host).is_some_and(known)) {
                    true => Admission::Unnamed,
                    false => Admission::Misdirected,
                }
            }
        }
    }

    /// Whether `authority`, a host with or without a port, is a public name. Pages from a public name belong to the service even if a proxy
    /// requests the service under another name.
    pub(crate) fn is_public(&self, authority: &str) -> bool {
        host(authority).is_some_and(|host| self.is_public_name(host))
    }

    fn is_public_name(&self, host: &str) -> bool {
        self.0.names.iter().any(|name| same_name(name, host))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { there, machine, names, tokens, layers } = &*self.0;
        let mut shown = f.debug_struct("Access");
        shown.field("there", there).field("machine", machine).field("names", names).field("tokens", tokens);
        shown.field("layers", &layers.len()).finish()
    }
}
