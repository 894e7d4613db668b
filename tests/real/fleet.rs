//! Processes of the example on shared servers, which a test starts and stops.

use std::{path::PathBuf, time::Duration};

use sagas_tests::process::{Program, Service, Site, command, free_base_port};

use super::servers::Servers;

/// Processes on the same servers.
pub struct Fleet {
    /// The base ports of each set of services.
    pub sites: Vec<Site>,
    pub members: Vec<Member>,
    broker: String,
    database: String,
    data_dir: PathBuf,
    /// The collectors of spans: the members use them in turn.
    collectors: Vec<String>,
}

/// A process and its configuration.
pub struct Member {
    pub site: usize,
    pub services: Vec<Service>,
    program: Option<Program>,
}

impl Member {
    pub fn is_up(&self) -> bool {
        self.program.is_some()
    }

    /// Returns its name for people: `inventory of site 1`.
    pub fn name(&self) -> String {
        let names: Vec<_> = self.services.iter().map(|service| service.name()).collect();
        format!("{} of site {}", names.join("+"), self.site)
    }
}

impl Fleet {
    /// Creates one process for each entry, with its site and its services. None is started.
    pub async fn of(servers: &Servers, members: impl IntoIterator<Item = (usize, Vec<Service>)>) -> Self {
        let members: Vec<_> = members.into_iter().map(|(site, services)| Member { site, services, program: None }).collect();
        let sites = members.iter().map(|member| member.site + 1).max().unwrap_or(0);
        let broker = format!("kafka://{}", servers.bootstrap().await);
        Self {
            sites: (0..sites).map(|_| Site::at(free_base_port())).collect(),
            members,
            broker,
            database: servers.database().await,
            data_dir: servers.folder().join("shop"),
            collectors: Vec::new(),
        }
    }

    /// Creates a process for each service of each site.
    pub async fn split(servers: &Servers, sites: usize) -> Self {
        let members = (0..sites).flat_map(|site| Service::ALL.map(|service| (site, vec![service])));
        Self::of(servers, members).await
    }

    /// Creates a process with all services for each site.
    pub async fn whole(servers: &Servers, sites: usize) -> Self {
        Self::of(servers, (0..sites).map(|site| (site, Service::ALL.to_vec()))).await
    }

    /// Returns the site to send requests to.
    pub fn site(&self) -> &Site {
        &self.sites[0]
    }

    /// Adds these options to the broker's URL for processes started from now on.
    #[must_use]
    pub fn kafka_options(mut self, options: &str) -> Self {
        self.broker = format!("{}?{options}", self.broker);
        self
    }

    /// Lets the members in turn send their spans to these collectors.
    #[must_use]
    pub fn collectors(self, collectors: impl IntoIterator<Item = String>) -> Self {
        Self { collectors: collectors.into_iter().collect(), ..self }
    }

    /// Starts all members that are not running, in parallel, and waits until they serve.
    pub async fn start_all(&mut self) {
        for index in 0..self.members.len() {
            if !self.members[index].is_up() {
                self.launch(index);
            }
        }
        self.all_serve().await;
    }

    /// Starts a member without waiting for it.
    pub fn launch(&mut self, index: usize) {
        let member = &self.members[index];
        assert!(!member.is_up(), "{} runs", member.name());
        let services: Vec<_> = member.services.iter().map(|service| service.name()).collect();
        let (services, base_port) = (services.join(","), self.sites[member.site].base_port().to_string());
        let mut command = command(env!("CARGO_BIN_EXE_ecommerce-under-test"), ["--no-demo", "--json"]);
        command.args(["--broker", &self.broker, "--database", &self.database]);
        command.args(["--services", &services, "--base-port", &base_port, "--data-dir"]).arg(&self.data_dir);
        if !self.collectors.is_empty() {
            command.args(["--otlp", &self.collectors[index % self.collectors.len()]]);
        }
        self.members[index].program = Some(Program::start(&mut command));
    }

    /// Waits until all running members serve.
    pub async fn all_serve(&mut self) {
        for program in self.members.iter_mut().filter_map(|member| member.program.as_mut()) {
            program.serving().await;
        }
    }

    /// Kills a member with `SIGKILL`.
    pub async fn kill(&mut self, index: usize) {
        self.take(index).kill().await;
    }

    /// Stops a member, which must end successfully within `limit`.
    pub async fn stop(&mut self, index: usize, limit: Duration) {
        let program = self.take(index);
        program.signal("TERM").await;
        let ended = program.ends_within(limit).await;
        assert_eq!(ended.status.code(), Some(0), "{}: {ended:#?}", self.members[index].name());
    }

    /// Sends a signal: `STOP`, `CONT`, ...
    pub async fn signal(&self, index: usize, name: &str) {
        self.members[index].program.as_ref().expect("it runs").signal(name).await;
    }

    /// Takes the process of a member, which no longer belongs to the fleet.
    pub fn take(&mut self, index: usize) -> Program {
        self.members[index].program.take().expect("it runs")
    }
}
