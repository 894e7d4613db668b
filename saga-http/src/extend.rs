//! The methods that this crate adds to services, apps and their handles.

use std::net::{SocketAddr, TcpListener};

use axum::Router;
use saga_core::runtime::{App, Handle, Service, ServiceHandle};

use crate::{
    Operators, Routes, app_operators::AppOperators, operators::surface, routes::mounted_with_health, server::HttpServer,
};

mod sealed {
    pub trait Sealed {}

    impl Sealed for saga_core::runtime::App {}
    impl Sealed for saga_core::runtime::Handle {}
    impl Sealed for saga_core::runtime::Service {}
}

/// Serves a [`Service`] over HTTP.
pub trait ServiceHttp: sealed::Sealed + Sized {
    /// Serves `routes`, an axum router, together with the health routes, on the listener given to [`listen`](Self::listen).
    ///
    /// An app with a service that has routes but no listener does not start, except in a test pump, which serves nothing. With the feature
    /// `openapi`, routes can be described where they are defined; see `openapi`.
    #[must_use]
    fn routes<R: Into<Routes>>(self, routes: impl FnOnce(ServiceHandle) -> R + Send + 'static) -> Self;

    /// Serves all routes of the service, its own and those of the framework, under `prefix` as well: with `/api/v1`, `/health` is also
    /// `/api/v1/health`.
    #[must_use]
    fn also_under(self, prefix: impl Into<String>) -> Self;

    /// Serves the framework's routes, such as health, under `prefix` only.
    ///
    /// With `/_sagas`, `/health` becomes `/_sagas/health`, and the service can have a `/health` of its own. A listener for
    /// [operators](Self::operators) serves these routes without the prefix.
    #[must_use]
    fn prefix(self, prefix: impl Into<String>) -> Self;

    /// Serves the service's own routes and health on `listener`. The caller binds it, so that a port in use is reported before anything
    /// starts.
    ///
    /// Metrics, and routes that show messages or change state, are for [`operators`](Self::operators).
    #[must_use]
    fn listen(self, listener: TcpListener) -> Self;

    /// Sets where operators reach the metrics and the routes that show messages or change state (dead letters, sagas, replays), and the
    /// credentials they need: an address for a separate listener, or [`Operators`].
    ///
    /// The default is [`AppHttp::operators`]. Without either, these routes are not served.
    #[must_use]
    fn operators(self, operators: impl Into<Operators>) -> Self;
}

/// Changes the HTTP server of `service`.
fn configured(mut service: Service, change: impl FnOnce(&mut HttpServer)) -> Service {
    service.configure_server(change);
    service
}

impl ServiceHttp for Service {
    fn routes<R: Into<Routes>>(self, routes: impl FnOnce(ServiceHandle) -> R + Send + 'static) -> Self {
        configured(self, |http| http.make_routes = Some(Box::new(|service| routes(service).into())))
    }

    fn also_under(self, prefix: impl Into<String>) -> Self {
        configured(self, |http| http.also_under = http.checked_prefix(prefix.into(), "/api/v1"))
    }

    fn prefix(self, prefix: impl Into<String>) -> Self {
        configured(self, |http| http.prefix = http.checked_prefix(prefix.into(), "/_sagas"))
    }

    fn listen(self, listener: TcpListener) -> Self {
        configured(self, |http| http.listener = Some(listener))
    }

    fn operators(self, operators: impl Into<Operators>) -> Self {
        configured(self, |http| http.operators = Some(operators.into()))
    }
}

/// Serves the services of an [`App`] over HTTP.
pub trait AppHttp: sealed::Sealed + Sized {
    /// Sets the address where operators reach the services that have no [`operators`](ServiceHttp::operators) of their own.
    ///
    /// A listener for operators serves all of these services, each under its name: `/payment/dead-letters`, `/payment/metrics`.
    #[must_use]
    fn operators(self, operators: impl Into<Operators>) -> Self;
}

impl AppHttp for App {
    fn operators(mut self, operators: impl Into<Operators>) -> Self {
        self.configure_server(|app: &mut AppOperators| app.operators = Some(operators.into()));
        self
    }
}

/// What a running app serves over HTTP.
pub trait HandleHttp: sealed::Sealed {
    /// Returns the address of the listener for operators that serves the service called `name`: its [own](ServiceHttp::operators), or the
    /// one of the [app](AppHttp::operators).
    fn operators_address(&self, name: &str) -> Option<SocketAddr>;

    /// Returns a router with the routes for operators of all services, each under the service's name, with its health in full. Mount it in
    /// an axum app of your own, as you would the [`operator_routes`](crate::operator_routes) of one service.
    fn operators_router(&self) -> Router;
}

impl HandleHttp for Handle {
    fn operators_address(&self, name: &str) -> Option<SocketAddr> {
        surface(self.service(name)?).listener
    }

    fn operators_router(&self) -> Router {
        let nested = |all: Router, service| all.nest(&format!("/{}", ServiceHandle::name(service)), mounted_with_health(service));
        self.services().fold(Router::new(), nested)
    }
}
