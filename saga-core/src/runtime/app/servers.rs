//! The servers of an app and of its services.

use std::net::SocketAddr;

use super::{App, Handle, Running};
use crate::runtime::{
    Server, Service,
    fence::Shutdown,
    service::{ServerTask, Servers},
};

impl App {
    /// Serves clients of the app's services with `server`.
    #[must_use]
    pub fn server(mut self, server: impl Server) -> Self {
        self.servers.add(server);
        self
    }

    /// Changes the app's server of type `S`, and adds the default one first if there is none.
    ///
    /// A crate with a server calls it in the methods by which it extends [`App`].
    pub fn configure_server<S: Server + Default>(&mut self, change: impl FnOnce(&mut S)) {
        self.servers.configure(change);
    }
}

/// Binds the servers of the app, then those of its services. Returns the problems found.
pub(super) fn bind(servers: &mut Servers, services: &mut [Service]) -> Vec<String> {
    let mut problems = of_app(servers.bind(services));
    for service in services {
        let found = service.bind_servers();
        problems.extend(of_service(&service.name, found));
    }
    problems
}

/// Returns `problems` as those of the app.
pub(super) fn of_app(problems: Vec<String>) -> Vec<String> {
    problems.into_iter().map(|problem| format!("the app: {problem}")).collect()
}

/// Returns `problems` as those of the service called `name`.
pub(super) fn of_service(name: &str, problems: Vec<String>) -> Vec<String> {
    problems.into_iter().map(|problem| format!("service `{name}`: {problem}")).collect()
}

impl Handle {
    /// Starts the servers of the app.
    ///
    /// # Errors
    /// Every problem that was found.
    pub(super) async fn serve(&mut self, servers: Servers) -> Result<(), Vec<String>> {
        let services: Vec<_> = self.services().cloned().collect();
        for task in servers.start(&services).await.map_err(of_app)? {
            if let Some(running) = self.running.get_mut(task.service.name()) {
                running.serve(task);
            }
        }
        Ok(())
    }
}

impl Running {
    /// Starts a task of a server.
    pub(super) fn serve(&mut self, task: ServerTask) {
        self.intake.spawn(task.run(Shutdown::new(self.stop_intake.subscribe())));
    }

    /// Logs that the service has started. `operators` is where its servers serve operators, and `unreachable` why the log is unreachable.
    pub(super) async fn log_start(&self, operators: Option<String>, unreachable: Option<&str>) {
        let core = self.service.core();
        let none = || "none".to_owned();
        let reads: Vec<_> = core.topics().iter().map(|topic| core.name_in_log(topic).into_owned()).collect();
        let unknown = || "unknown".to_owned();
        let log = match unreachable {
            None => core.transport.about().await.unwrap_or_else(unknown),
            Some(error) => format!("not reached: {error}"),
        };
        let database_version = core.store().version().await.unwrap_or_else(unknown);
        tracing::info!(
            service = &*core.name,
            // The service's name is the name of its consumer group.
            group = &*core.name,
            ?reads,
            log,
            database = core.store().place(),
            database_version,
            listener = self.address.map_or_else(none, |address: SocketAddr| address.to_string()),
            operators = operators.unwrap_or_else(none),
            sagas = env!("CARGO_PKG_VERSION"),
            "the service has started"
        );
    }
}
