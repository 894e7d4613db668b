//! The HTTP server of a service: its own routes on its listener, and the routes for its operators on theirs.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use axum::Router;
use saga_core::runtime::{Server, ServerTask, Service, ServiceHandle};

use crate::{
    Operators, RequestLimits, Routes, ServeLimits, harden_service,
    operators::Surface,
    operators_only::listened,
    routes::{Unserved, served, served_to_operators},
    serve,
};

/// Makes the routes of a service when it has started.
type MakeRoutes = Box<dyn FnOnce(ServiceHandle) -> Routes + Send>;

/// The HTTP server of a service, as [`ServiceHttp`](crate::ServiceHttp) configures it.
#[derive(Default)]
pub(crate) struct HttpServer {
    pub(crate) listener: Option<TcpListener>,
    pub(crate) make_routes: Option<MakeRoutes>,
    pub(crate) also_under: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) operators: Option<Operators>,
    /// What the operators of the app are served, if the service has none of its own.
    of_app: Option<Surface>,
    /// Where operators are served, as a text; set when the server is bound.
    place: Option<String>,
    /// Mistakes in the calls that configure it.
    problems: Vec<String>,
}

impl HttpServer {
    /// Returns `prefix` if routes can be served under it.
    pub(crate) fn checked_prefix(&mut self, prefix: String, like: &str) -> Option<String> {
        let segments = prefix.strip_prefix('/').map(|path| path.split('/').collect::<Vec<_>>()).unwrap_or_default();
        let plain = |segment: &&str| {
            !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        };
        if !segments.is_empty() && segments.iter().all(plain) {
            return Some(prefix);
        }
        self.problems.push(format!("`{prefix}` is no prefix for routes; write it like `{like}`"));
        None
    }

    /// Uses the operators of the app, unless the service has its own.
    pub(crate) fn share(&mut self, of_app: &Operators) {
        if self.operators.is_none() {
            let mut surface = of_app.surface(self.address());
            surface.is_of_app = true;
            self.of_app = Some(surface);
        }
    }
}

#[async_trait]
impl Server for HttpServer {
    fn problems(&self, _: &[Service]) -> Vec<String> {
        let (listens, mut problems) = (self.listener.is_some(), self.problems.clone());
        problems.extend(self.operators.iter().flat_map(|operators| operators.problems(listens)));
        if !listens && (self.make_routes.is_some() || self.also_under.is_some()) {
            problems.push(
                "it has routes, and no listener that they are served on; give it one with `Service::listen(..)`, or mount the routes in an \
                 axum app of your own instead of giving them to the service"
                    .to_owned(),
            );
        }
        problems
    }

    fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    fn operators(&self) -> Option<String> {
        self.place.clone()
    }

    /// Binds the listener for operators. The one of the service itself is bound already.
    fn bind(&mut self, services: &mut [Service]) -> Result<(), Vec<String>> {
        if let Some(operators) = &mut self.operators {
            operators.bind().map_err(|problem| vec![problem])?;
        }
        let own = self.operators.as_ref().map(|operators| operators.surface(self.address()));
        let configured = own.or(self.of_app.take());
        self.place = configured.as_ref().map(Surface::told);
        let mut surface = configured.unwrap_or_default();
        (surface.prefix, surface.also_under) = (self.prefix.take(), self.also_under.clone());
        services.iter_mut().for_each(|service| service.set_state(surface.clone()));
        Ok(())
    }

    async fn start(mut self: Box<Self>, services: &[ServiceHandle]) -> Result<Vec<ServerTask>, Vec<String>> {
        let mut tasks = Vec::new();
        let Some(service) = services.first() else { return Ok(tasks) };
        if let Some(listener) = self.listener {
            let own = self.make_routes.map(|routes| routes(service.clone())).unwrap_or_default();
            let router = served(own, service, self.also_under.as_deref()).await.map_err(Unserved::problems)?;
            let router = hardened(router, service, &listener)?;
            tasks.push(task(service, "http", listener, router));
        }
        if let Some(listener) = self.operators.as_mut().and_then(Operators::take_listener) {
            let router = served_to_operators(service, "").map_err(Unserved::problems)?;
            let router = hardened(router, service, &listener)?;
            tasks.push(task(service, "operators", listener, router).helping());
        }
        Ok(tasks)
    }
}

/// Adds the request limits and security layers, and the address of the listener.
pub(crate) fn hardened(router: Router, service: &ServiceHandle, listener: &TcpListener) -> Result<Router, Vec<String>> {
    let address = listener.local_addr().map_err(|error| vec![format!("a listener: {error}")])?;
    let limits = RequestLimits { answer_timeout: service.settings().answer_timeout(), ..Default::default() };
    Ok(harden_service(listened(router, address), service, limits))
}

/// Returns the task `name` of `service`, which serves `router`.
pub(crate) fn task(service: &ServiceHandle, name: &'static str, listener: TcpListener, router: Router) -> ServerTask {
    let limits = ServeLimits { stop_timeout: service.settings().stop_timeout(), ..Default::default() };
    // Kept so that the server can be restarted after a panic. Closed when the service stops, so that new connections are refused instead of
    // waiting unanswered.
    let kept = Arc::new(Mutex::new(Some(listener)));
    ServerTask::new(service, name, move |stop| {
        let (kept, router) = (kept.clone(), router.clone());
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
