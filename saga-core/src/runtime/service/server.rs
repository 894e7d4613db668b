//! The port for what serves the clients of services, such as an HTTP or a gRPC server.

use std::{any::Any, future::Future, net::SocketAddr, slice};

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{Service, ServiceHandle};
use crate::runtime::{
    fence::Shutdown,
    panics::{Task, supervise},
};

/// Serves the clients of services, such as an HTTP or a gRPC server.
///
/// A server is given to a service ([`Service::server`]) or to an app ([`App::server`](crate::runtime::App::server)). The app calls it in
/// this order:
///
/// | call | when | an error |
/// |---|---|---|
/// | [`problems`](Server::problems) | when the app is checked | refuses the start, beside all other problems |
/// | [`bind`](Server::bind) | if the check has found nothing, before a database or the log is used | refuses the start |
/// | [`start`](Server::start) | when its services have started; for a server of the app, when all have | ends the start |
///
/// The servers of the app are bound before those of its services, and started after them. The tasks that `start` returns run until the
/// service stops. They hear of the stop first, when the service takes no new work, and the database of the service stays open until they have
/// ended. A task that panics is called again.
///
/// In each call, `services` are those that the server serves: the one that it was given to, or all of the app.
///
/// ```
/// use std::net::{SocketAddr, TcpListener};
///
/// use async_trait::async_trait;
/// use saga_core::runtime::{Server, ServerTask, Service, ServiceHandle};
///
/// /// Answers each connection with the name of the service.
/// struct Greeter {
///     address: SocketAddr,
///     listener: Option<TcpListener>,
/// }
///
/// #[async_trait]
/// impl Server for Greeter {
///     fn address(&self) -> Option<SocketAddr> {
///         self.listener.as_ref().map_or(Some(self.address), |listener| listener.local_addr().ok())
///     }
///
///     fn bind(&mut self, _: &mut [Service]) -> Result<(), Vec<String>> {
///         let bound = TcpListener::bind(self.address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
///         self.listener = Some(bound.map_err(|error| vec![format!("{}: {error}", self.address)])?);
///         Ok(())
///     }
///
///     async fn start(mut self: Box<Self>, services: &[ServiceHandle]) -> Result<Vec<ServerTask>, Vec<String>> {
///         let listener = self.listener.take().ok_or_else(|| vec!["it is not bound".to_owned()])?;
///         let service = services[0].clone();
///         let greet = move |stop| greet(listener.try_clone(), service.name().to_owned(), stop);
///         Ok(vec![ServerTask::new(&services[0], "greeter", greet)])
///     }
/// }
///
/// async fn greet(listener: std::io::Result<TcpListener>, name: String, stop: saga_core::runtime::Shutdown) {
///     # async fn accept(_: std::io::Result<TcpListener>, _: &str) {}
///     tokio::select! {
///         () = accept(listener, &name) => {} // accepts connections and writes `name`
///         () = stop.requested() => {}
///     }
/// }
/// ```
#[async_trait]
pub trait Server: Any + Send {
    /// Returns every problem that can be found without I/O, each as a sentence. The app adds the name of the service.
    fn problems(&self, services: &[Service]) -> Vec<String> {
        let _ = services;
        Vec::new()
    }

    /// Returns the address at which clients reach the services: before [`bind`](Self::bind) the one that it will listen on, and after it
    /// the one that it listens on. [`Handle::address`](crate::runtime::Handle::address) returns that of the service's first server.
    ///
    /// `None` if there is no listener. A test pump leaves such a server out, because no client could reach it.
    fn address(&self) -> Option<SocketAddr>;

    /// Returns where it serves operators, for the log line of the start; `None` if it does not. It is called after [`bind`](Self::bind).
    fn operators(&self) -> Option<String> {
        None
    }

    /// Opens the listeners, without accepting connections yet.
    ///
    /// It can configure `services` as well: [`Service::set_state`] gives them values that [`ServiceHandle::state`] returns.
    ///
    /// # Errors
    /// Every problem that was found, such as an address that is in use. The app adds the name of the service.
    fn bind(&mut self, services: &mut [Service]) -> Result<(), Vec<String>>;

    /// Returns the tasks that serve.
    ///
    /// # Errors
    /// Every problem that was found. The services that have started are stopped.
    async fn start(self: Box<Self>, services: &[ServiceHandle]) -> Result<Vec<ServerTask>, Vec<String>>;
}

/// A task of a [`Server`].
pub struct ServerTask {
    pub(crate) service: ServiceHandle,
    name: &'static str,
    weight: Task,
    work: Box<dyn FnMut(Shutdown) -> BoxFuture<'static, ()> + Send>,
}

impl ServerTask {
    /// Creates the task `name` of `service`. The name is the label `task` of the metric `sagas_task_panics_total`.
    ///
    /// The app calls `work` when the service has started. Its future ends when the service stops: it takes no new requests from
    /// [`Shutdown::requested`] on, and finishes running ones within
    /// [`stop_timeout_ms`](crate::settings::Settings::stop_timeout_ms). A later end is aborted. If it panics, `work` is called again, after
    /// increasing waits; if it ends by itself, it is not.
    pub fn new<F, Fut>(service: &ServiceHandle, name: &'static str, mut work: F) -> Self
    where
        F: FnMut(Shutdown) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let work = Box::new(move |stop| -> BoxFuture<'static, ()> { Box::pin(work(stop)) });
        Self { service: service.clone(), name, weight: Task::Vital, work }
    }

    /// Marks the task as one that the service can do its work without. While it keeps panicking, the condition of the service is a warning
    /// and not critical.
    #[must_use]
    pub fn helping(self) -> Self {
        Self { weight: Task::Helping, ..self }
    }

    /// Runs the task until it ends.
    pub(crate) fn run(self, stop: Shutdown) -> impl Future<Output = ()> + Send + 'static {
        let Self { service, name, weight, mut work } = self;
        let told = stop.clone();
        supervise(service.core().clone(), name, weight, stop, move || work(told.clone()))
    }
}

impl std::fmt::Debug for ServerTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTask").field("service", &self.service).field("name", &self.name).finish_non_exhaustive()
    }
}

/// The servers of an app or of a service.
#[derive(Default)]
pub(crate) struct Servers(Vec<Box<dyn Server>>);

impl Servers {
    pub(crate) fn add(&mut self, server: impl Server) {
        self.0.push(Box::new(server));
    }

    /// Returns the first server of type `S`.
    pub(crate) fn get<S: Server>(&self) -> Option<&S> {
        self.0.iter().find_map(|server| (&**server as &dyn Any).downcast_ref())
    }

    /// Passes the first server of type `S` to `change`, or adds the changed default one if there is none.
    pub(crate) fn configure<S: Server + Default>(&mut self, change: impl FnOnce(&mut S)) {
        match self.0.iter_mut().find_map(|server| (&mut **server as &mut dyn Any).downcast_mut()) {
            Some(server) => change(server),
            None => {
                let mut server = S::default();
                change(&mut server);
                self.add(server);
            }
        }
    }

    /// Keeps the servers that clients can reach.
    #[cfg(feature = "test-util")]
    pub(crate) fn retain_reachable(&mut self) {
        self.0.retain(|server| server.address().is_some());
    }

    pub(crate) fn problems(&self, services: &[Service]) -> Vec<String> {
        self.0.iter().flat_map(|server| server.problems(services)).collect()
    }

    /// Returns the problems found.
    pub(crate) fn bind(&mut self, services: &mut [Service]) -> Vec<String> {
        self.0.iter_mut().flat_map(|server| server.bind(services).err().unwrap_or_default()).collect()
    }

    /// Returns the address of the first server that has one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.iter().find_map(|server| server.address())
    }

    /// Returns where the first server that serves operators does so.
    pub(crate) fn operators(&self) -> Option<String> {
        self.0.iter().find_map(|server| server.operators())
    }

    pub(crate) async fn start(self, services: &[ServiceHandle]) -> Result<Vec<ServerTask>, Vec<String>> {
        let mut tasks = Vec::new();
        for server in self.0 {
            tasks.extend(server.start(services).await?);
        }
        Ok(tasks)
    }
}

impl Service {
    /// Serves clients of the service with `server`.
    #[must_use]
    pub fn server(mut self, server: impl Server) -> Self {
        self.servers.add(server);
        self
    }

    /// Changes the service's server of type `S`, and adds the default one first if there is none.
    ///
    /// A crate with a server calls it in the methods by which it extends [`Service`].
    pub fn configure_server<S: Server + Default>(&mut self, change: impl FnOnce(&mut S)) {
        self.servers.configure(change);
    }

    /// Returns the service's server of type `S`, if it has one.
    pub fn configured_server<S: Server>(&self) -> Option<&S> {
        self.servers.get()
    }

    /// Binds the servers of the service. Returns the problems found.
    pub(crate) fn bind_servers(&mut self) -> Vec<String> {
        let mut servers = std::mem::take(&mut self.servers);
        let problems = servers.bind(slice::from_mut(self));
        self.servers = servers;
        problems
    }
}
