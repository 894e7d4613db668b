//! Where operators reach a service, and how they authenticate.
//!
//! Dead letters, sagas, replays and metrics show what customers wrote, or allow changes to it. No listener serves them unless the service,
//! or its app, configures which.

mod access;
mod credential;
mod host;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    fmt, mem,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, LazyLock},
};

use axum::{extract::Request, response::IntoResponse, routing::Route};
use saga_core::runtime::ServiceHandle;
use tower_layer::Layer;

pub(crate) use self::access::{Access, Admission};
pub use self::credential::Operator;
use self::{
    access::{Authentication, Rules},
    credential::Token,
};

/// Where operators reach a service, and how they authenticate. Their routes are those for dead letters, sagas, replays and metrics, and
/// those that the service itself restricts with [`operators_only`](crate::operators_only).
///
/// | where | without a credential | with a token or a layer |
/// |---|---|---|
/// | a listener of their own, on a loopback address | open to this machine | requires the credential |
/// | a listener of their own, on any other address | the app does not start | requires the credential |
/// | [beside the routes](Self::beside_the_routes) of the service | not served | requires the credential |
/// | the same, with [`open_on_loopback`](Self::open_on_loopback), on a loopback address | open to this machine | open to this machine |
/// | mounted in your own axum app, [only](Self::mounted) or as well | 401, unless that app adds an [`Operator`] | requires the credential |
///
/// *Open to this machine* means: open to requests whose `Host` is a loopback address, `localhost` or a [`public_name`](Self::public_name);
/// others are answered with 421. A request that changes something and comes from a page of another site is answered with 403, even with a
/// credential. A page belongs to this site if its host is the one in the request's `Host`, or a public name. Routes that your own axum app
/// mounts are never open to this machine, wherever that app listens.
///
/// ```
/// # use saga_core::{runtime::Service, store::Database};
/// # use saga_http::{Operators, ServiceHttp};
/// # fn service(db: Database) -> Service {
/// Service::new("payment", db).operators("127.0.0.1:9090")
/// # }
/// # fn in_a_container(db: Database) -> Service {
/// Service::new("payment", db).operators(Operators::at("0.0.0.0:9090").token_file("/run/secrets/operator-token"))
/// # }
/// ```
#[must_use]
pub struct Operators {
    place: Place,
    tokens: Vec<Token>,
    layers: Vec<Authentication>,
    names: Vec<String>,
    open_on_loopback: bool,
    open_metrics: bool,
    problems: Vec<String>,
}

enum Place {
    /// The address of a listener that is not bound yet.
    At(SocketAddr),
    On(TcpListener),
    Beside,
    Mounted,
}

impl Place {
    fn told(&self) -> &'static str {
        match self {
            Self::At(_) | Self::On(_) => "a listener of their own",
            Self::Beside => "beside the routes",
            Self::Mounted => "where the program mounts them",
        }
    }
}

impl Operators {
    /// Serves the routes on a listener of their own at `address`, for example `127.0.0.1:9090`. It is bound when the app starts.
    pub fn at(address: impl AsRef<str>) -> Self {
        let address = address.as_ref();
        match address.parse() {
            Ok(address) => Self::in_place(Place::At(address)),
            Err(_) => Self::mounted().with_problem(match named(address) {
                Some(port) => format!(
                    "`{address}` is a name with a port, and operators listen on an IP address; write that, like `127.0.0.1:{port}`"
                ),
                None => format!("`{address}` is no address for operators; write an IP address with its port, like `127.0.0.1:9090`"),
            }),
        }
    }

    /// Serves the routes on this listener of their own.
    pub fn on(listener: TcpListener) -> Self {
        Self::in_place(Place::On(listener))
    }

    /// Serves the routes on the listener of the service, beside its own routes. They then require a credential or
    /// [`open_on_loopback`](Self::open_on_loopback), because a proxy that forwards requests to the service forwards those to these routes
    /// as well.
    pub fn beside_the_routes() -> Self {
        Self::in_place(Place::Beside)
    }

    /// Serves the routes only where your own axum app mounts [`operator_routes`](crate::operator_routes). This is the default;
    /// configure it to set a credential.
    pub fn mounted() -> Self {
        Self::in_place(Place::Mounted)
    }

    fn in_place(place: Place) -> Self {
        Self {
            place,
            tokens: Vec::new(),
            layers: Vec::new(),
            names: Vec::new(),
            open_on_loopback: false,
            open_metrics: false,
            problems: Vec::new(),
        }
    }

    /// Admits requests with `token` in `Authorization: Bearer`. It has at least 16 visible ASCII characters. All operators send the same
    /// token, so the `by` of a request is the name that the request itself gives.
    pub fn token(self, token: impl AsRef<str>) -> Self {
        self.with_token(Token::new(token.as_ref(), None))
    }

    /// Admits requests with `token`, as those of the operator `name`. The name must not be empty, and is recorded as `by`.
    pub fn token_of(self, name: impl AsRef<str>, token: impl AsRef<str>) -> Self {
        self.with_token(Token::of(Operator::new(name), token.as_ref()))
    }

    /// Like [`token`](Self::token), with the content of the file at `path`, for example a mounted secret. The file is read by this call.
    pub fn token_file(self, path: impl AsRef<Path>) -> Self {
        self.with_token(Token::read(path.as_ref()))
    }

    /// Like [`token`](Self::token), with the value of the environment variable `name`. The variable is read by this call.
    pub fn token_env(self, name: impl AsRef<str>) -> Self {
        self.with_token(Token::of_environment(name.as_ref()))
    }

    /// Adds a tower layer around the operator routes, for an authentication of your own. The layer answers a request itself, or adds an
    /// [`Operator`] to its extensions. A request that it passes on without an [`Operator`] needs a token. The layer that is added last is
    /// the outermost.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: tower_service::Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as tower_service::Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as tower_service::Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as tower_service::Service<Request>>::Future: Send + 'static,
    {
        self.layers.push(Arc::new(move |routes: axum::Router| routes.route_layer(layer.clone())));
        self
    }

    /// Admits all requests from this machine without a credential, on a listener with a loopback address. Do not use it if a proxy on the
    /// same machine forwards requests to that listener, because these come from this machine too.
    pub fn open_on_loopback(mut self) -> Self {
        self.open_on_loopback = true;
        self
    }

    /// Serves `/metrics` on the listener of the service as well, to everybody.
    pub fn metrics_for_everybody(mut self) -> Self {
        self.open_metrics = true;
        self
    }

    /// Adds a host name, without a port, under which the browsers of operators reach the service, for example `shop.example`. It can be a
    /// name in the hosts file of this machine, or the name of a proxy that requests the service under another one. Pages from this name can
    /// act like pages from the requested host, and anyone who reaches the routes that are open to this machine under this name is an
    /// operator.
    pub fn public_name(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if host::host(&name).is_some_and(|host| host == name) {
            self.names.push(name);
            return self;
        }
        self.with_problem(format!("`{name}` is no name of a host; write it without scheme and port, like `shop.example`"))
    }

    fn with_token(mut self, token: Result<Token, String>) -> Self {
        match token {
            Ok(token) => self.tokens.push(token),
            Err(problem) => self.problems.push(problem),
        }
        self
    }

    fn with_problem(mut self, problem: String) -> Self {
        self.problems.push(problem);
        self
    }
}

impl Operators {
    /// Returns all problems of the configuration; `listens` is whether the service has a listener.
    pub(crate) fn problems(&self, listens: bool) -> Vec<String> {
        let mut problems = self.problems.clone();
        if matches!(self.place, Place::Beside) && !listens {
            problems.push(
                "operators are beside the routes of a service that has no listener; give it one with `Service::listen(..)`, or give \
                 them one of their own: `Operators::at(\"127.0.0.1:9090\")`"
                    .to_owned(),
            );
        }
        if let Some(address) = self.address().filter(|address| !is_loopback(*address) && !self.have_a_credential()) {
            // A rejected credential is reported above.
            if self.problems.is_empty() {
                problems.push(format!(
                    "operators listen on {address}, which others can reach, and need no credential; give them a token \
                     (`Operators::token_file(..)`) or an authentication of your own (`Operators::layer(..)`), or listen on a loopback \
                     address"
                ));
            }
        }
        problems
    }

    /// Binds the operators' own listener, if they have one.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub(crate) fn bind(&mut self) -> Result<(), String> {
        let Place::At(address) = self.place else { return Ok(()) };
        let listener = TcpListener::bind(address).map_err(|error| {
            format!(
                "the listener of operators at {address} cannot be opened: {error}; free that port, or give them another address"
            )
        })?;
        self.place = Place::On(listener);
        Ok(())
    }

    /// Takes the operators' own listener, if it was [bound](Self::bind). It is moved and not duplicated, because a duplication can fail.
    /// Call [`surface`](Self::surface) first, which needs its address.
    pub(crate) fn take_listener(&mut self) -> Option<TcpListener> {
        match mem::replace(&mut self.place, Place::Mounted) {
            Place::On(listener) => Some(listener),
            other => {
                self.place = other;
                None
            }
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match &self.place {
            Place::At(address) => Some(*address),
            Place::On(listener) => listener.local_addr().ok(),
            Place::Beside | Place::Mounted => None,
        }
    }

    fn have_a_credential(&self) -> bool {
        !self.tokens.is_empty() || !self.layers.is_empty()
    }

    /// Returns which routes are served where and to whom, for a service that listens on `address`.
    pub(crate) fn surface(&self, address: Option<SocketAddr>) -> Surface {
        let beside = matches!(self.place, Place::Beside);
        let rules = |there, machine| {
            let (names, tokens, layers) = (self.names.clone(), self.tokens.clone(), self.layers.clone());
            Access::new(Rules { there, machine, names, tokens, layers })
        };
        let on_this_machine = address.is_some_and(is_loopback) && self.open_on_loopback;
        let routes = rules(on_this_machine || !beside || self.have_a_credential(), on_this_machine);
        let of_their_own = self.address().is_some_and(is_loopback) && (self.open_on_loopback || !self.have_a_credential());
        let operators = if beside { routes.clone() } else { rules(true, of_their_own) };
        Surface {
            place: match routes.exists() {
                true => self.place.told(),
                false => "nowhere: beside the routes, and without a token, a layer or `open_on_loopback`",
            },
            operators,
            mounted: rules(true, false),
            routes,
            beside,
            open_metrics: self.open_metrics,
            listener: self.address(),
            is_of_app: false,
            prefix: None,
            also_under: None,
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The routes that a service serves over HTTP, where, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Surface {
    /// Where the operator routes are served, as a text.
    place: &'static str,
    /// The address of a listener for operators only.
    pub(crate) listener: Option<SocketAddr>,
    /// Whether the operators are those of the app.
    pub(crate) is_of_app: bool,
    /// Who can use the framework's operator routes on a listener of the framework.
    pub(crate) operators: Access,
    /// Who can use them where another app mounts them. The listener of that app is unknown, so they are not open to this machine: any
    /// client can send `localhost` as `Host`.
    pub(crate) mounted: Access,
    /// Who can use the operator routes among the service's own routes.
    pub(crate) routes: Access,
    /// Whether the framework's operator routes are served beside those.
    pub(crate) beside: bool,
    /// Whether the metrics there are open to everybody.
    pub(crate) open_metrics: bool,
    /// The path prefix of the framework's routes.
    pub(crate) prefix: Option<String>,
    /// A second path prefix under which all routes are served.
    pub(crate) also_under: Option<String>,
}

impl Surface {
    /// Returns where operators are served, for the log.
    pub(crate) fn told(&self) -> String {
        self.listener.map_or_else(|| self.place.to_owned(), |address| address.to_string())
    }
}

/// For a service without operators: their routes are served where another app mounts them.
impl Default for Surface {
    fn default() -> Self {
        Operators::mounted().surface(None)
    }
}

/// Returns which routes `service` serves, where, and to whom.
pub(crate) fn surface(service: &ServiceHandle) -> &Surface {
    static DEFAULT: LazyLock<Surface> = LazyLock::new(Surface::default);
    service.state().unwrap_or(&DEFAULT)
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operators").field("place", &self.place.told()).field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// Serves the routes on a listener of their own at this address.
impl From<&str> for Operators {
    fn from(address: &str) -> Self {
        Self::at(address)
    }
}

/// Serves the routes on a listener of their own at this address.
impl From<String> for Operators {
    fn from(address: String) -> Self {
        Self::at(address)
    }
}

/// Serves the routes on a listener of their own at this address.
impl From<SocketAddr> for Operators {
    fn from(address: SocketAddr) -> Self {
        Self::in_place(Place::At(address))
    }
}

/// Serves the routes on this listener of their own.
impl From<TcpListener> for Operators {
    fn from(listener: TcpListener) -> Self {
        Self::on(listener)
    }
}

/// Returns the port of `address` if it consists of a host name and a port.
fn named(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    port.parse().ok().filter(|_| is_name)
}
