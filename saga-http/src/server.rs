//! Serves the HTTP routes of services: each service on its own listener, and the routes for operators on theirs.

use std::{
    error::Error,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::Router;
use tokio::task::JoinSet;

use super::{App, Handle, Running};
use crate::{
    http::{
        Problem, RequestLimits, ServeLimits, Unserved, harden_service, listened, mounted_with_health, serve, served,
        served_to_operators,
    },
    runtime::{
        Operators, Routes, Service, ServiceHandle,
        core::Core,
        fence::Shutdown,
        operators::Surface,
        panics::{Task, supervise},
    },
};

impl App {
    /// Sets the address where operators reach the services that have no [`operators`](Service::operators) of their own.
    ///
    /// A listener for operators serves all of these services, each under its name: `/payment/dead-letters`, `/payment/metrics`.
    #[must_use]
    pub fn operators(mut self, operators: impl Into<Operators>) -> Self {
        self.operators = Some(operators.into());
        self
    }

    pub(super) fn operator_problems(&self) -> Vec<String> {
        let Some(operators) = &self.operators else { return Vec::new() };
        let listen = self.services.iter().filter(|service| service.operators.is_none()).all(|service| service.listener.is_some());
        operators.problems(listen).into_iter().map(|problem| format!("the app: {problem}")).collect()
    }
}

impl Handle {
    /// Returns the address of the listener for operators that serves the service called `name`: its [own](Service::operators), or the one
    /// of the [app](App::operators).
    pub fn operators_address(&self, name: &str) -> Option<SocketAddr> {
        self.running.get(name)?.addresses[1]
    }

    /// Returns a router with the routes for operators of all services, each under the service's name, with its health in full. Mount it in
    /// an axum app of your own, as you would the [`operator_routes`](crate::http::operator_routes) of one service.
    pub fn operators_router(&self) -> Router {
        let nested = |all: Router, running: &Running| {
            all.nest(&format!("/{}", running.service.name()), mounted_with_health(&running.service))
        };
        self.running.values().fold(Router::new(), nested)
    }
}

/// The routes and listeners of one service.
pub(super) struct Serving {
    own: Option<TcpListener>,
    operators: Option<TcpListener>,
    make_routes: Option<Box<dyn FnOnce(ServiceHandle) -> Routes + Send>>,
    also_under: Option<String>,
}

impl Serving {
    /// Takes the routes and listeners out of `service`. Its own [`Operators`] take precedence over those of the app.
    pub(super) fn of(service: &mut Service, app: Option<&Operators>) -> std::io::Result<(Self, Surface)> {
        let own = service.listener.take();
        let address = own.as_ref().map(TcpListener::local_addr).transpose()?;
        let configured = service.operators.as_ref().or(app);
        let mut surface = configured.unwrap_or(&Operators::mounted()).surface(address);
        if configured.is_none() {
            surface.place = "none";
        }
        surface.prefix = service.prefix.take();
        surface.also_under = service.also_under.clone();
        let operators = service.operators.as_mut().and_then(Operators::take_listener);
        Ok((Self { own, operators, make_routes: service.routes.take(), also_under: service.also_under.take() }, surface))
    }

    /// Serves the routes in tasks of `intake`, until `stop` is requested. Returns the addresses of the service's own routes and of those
    /// for operators.
    pub(super) async fn start(
        self,
        service: &ServiceHandle,
        intake: &mut JoinSet<()>,
        stop: &Shutdown,
    ) -> Result<[Option<SocketAddr>; 2], Box<dyn Error + Send + Sync>> {
        let mut addresses = [None, None];
        if let Some(listener) = self.own {
            let at = listener.local_addr()?;
            addresses[0] = Some(at);
            let own = self.make_routes.map(|routes| routes(service.clone())).unwrap_or_default();
            let router = served(own, service, self.also_under.as_deref()).await?;
            intake.spawn(server(service.core(), ("http", Task::Vital), listener, hardened(router, service, at), stop.clone()));
        }
        if let Some(listener) = self.operators {
            let at = listener.local_addr()?;
            addresses[1] = Some(at);
            let router = hardened(served_to_operators(service, "")?, service, at);
            intake.spawn(server(service.core(), ("operators", Task::Helping), listener, router, stop.clone()));
        }
        Ok(addresses)
    }
}

/// Binds the listeners for operators. Returns the problems found.
pub(super) fn bind(services: &mut [Service], app: Option<&mut Operators>) -> Vec<String> {
    let of_services =
        services.iter_mut().filter_map(|service| Some((format!("service `{}`", service.name), service.operators.as_mut()?)));
    let all = of_services.chain(app.map(|operators| ("the app".to_owned(), operators)));
    all.filter_map(|(whose, operators)| Some(format!("{whose}: {}", operators.bind().err()?))).collect()
}

/// Serves, on the app's listener for operators, the services that have no [`Operators`] of their own, each under its name. The task belongs
/// to the first of these services.
pub(super) fn share<'r>(running: impl Iterator<Item = &'r mut Running>, listener: TcpListener) -> Result<(), Vec<String>> {
    let address = listener.local_addr().map_err(|error| vec![format!("the listener of operators: {error}")])?;
    let mut sharing: Vec<_> = running.filter(|running| !running.says_operators).collect();
    let (mut all, mut places) = (Router::new(), Vec::new());
    for running in &mut sharing {
        running.addresses[1] = Some(address);
        let (service, place) = (&running.service, format!("/{}", running.service.name()));
        all = all.nest(&place, hardened(served_to_operators(service, &place).map_err(Unserved::problems)?, service, address));
        places.push(place);
    }
    let all = all.fallback(async move || {
        Problem::not_found(format!("there is nothing at this path; each service is under its name: {}", places.join(", ")))
    });
    if let Some(first) = sharing.first_mut() {
        let stop = Shutdown::new(first.stop_intake.subscribe());
        first.intake.spawn(server(first.service.core(), ("operators", Task::Helping), listener, all, stop));
    }
    Ok(())
}

/// Converts the error to a list of problems.
pub(super) fn problems(error: Box<dyn Error + Send + Sync>) -> Vec<String> {
    match error.downcast::<Unserved>() {
        Ok(unserved) => unserved.problems(),
        Err(other) => vec![other.to_string()],
    }
}

/// Adds the request limits and security layers, and the address of the listener.
fn hardened(router: Router, service: &ServiceHandle, address: SocketAddr) -> Router {
    let limits = RequestLimits { answer_timeout: service.core().settings.answer_timeout(), ..Default::default() };
    harden_service(listened(router, address), service, limits)
}

/// Serves `router` until `stop` is requested.
fn server(
    core: &Arc<Core>,
    (name, weight): (&'static str, Task),
    listener: TcpListener,
    router: Router,
    stop: Shutdown,
) -> impl Future<Output = ()> + Send + use<> {
    let limits = ServeLimits { stop_timeout: core.settings.stop_timeout(), ..Default::default() };
    let serving = stop.clone();
    // Kept so that the server can be restarted after a panic. Closed when the service stops, so that new connections are refused instead of
    // waiting unanswered.
    let kept = Arc::new(Mutex::new(Some(listener)));
    supervise(core.clone(), name, weight, stop, move || {
        let (kept, router, stop) = (kept.clone(), router.clone(), serving.clone());
        async move {
            let Some(listener) = lock(&kept).as_ref().map(TcpListener::try_clone) else { return };
            let stopped = async {
                stop.requested().await;
                lock(&kept).take();
            };
            let served = async { serve(listener?, router, limits, stopped).await };
            if let Err(error) = served.await {
                tracing::error!(%error, "the HTTP server has ended");
            }
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
