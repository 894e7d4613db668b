//! Processes of the example on the same servers, which come and go by a test's wish.

use std::{path::PathBuf, time::Duration};

use sagas_tests::process::{Program, Service, Site, command, free_base_port};

use super::servers::Servers;

/// Processes on the same servers.
pub struct Fleet {
    /// Where each set of the services answers.
    pub sites: Vec<Site>,
    pub members: Vec<Member>,
    broker: String,
    database: String,
    data_dir: PathBuf,
    /// Where spans go: of the members in turn to each of these.
    collectors: Vec<String>,
}

/// A process, and what it is to run.
pub struct Member {
    pub site: usize,
    pub services: Vec<Service>,
    program: Option<Program>,
}

impl Member {
    pub fn is_up(&self) -> bool {
        self.program.is_some()
    }

    /// What it runs, for people: `inventory of site 1`.
    pub fn name(&self) -> String {
        let names: Vec<_> = self.services.iter().map(|service| service.name()).collect();
        format!("{} of site {}", names.join("+"), self.site)
    }
}

impl Fleet {
    /// One process for each entry: the services it runs, of which site. Nothing is started yet.
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

    /// A process for each service of each of this many sites.
    pub async fn split(servers: &Servers, sites: usize) -> Self {
        let members = (0..sites).flat_map(|site| Service::ALL.map(|service| (site, vec![service])));
        Self::of(servers, members).await
    }

    /// All services of each of this many sites in one process.
    pub async fn whole(servers: &Servers, sites: usize) -> Self {
        Self::of(servers, (0..sites).map(|site| (site, Service::ALL.to_vec()))).await
    }

    /// Where the services are asked.
    pub fn site(&self) -> &Site {
        &self.sites[0]
    }

    /// With these options in the broker's URL, of what is started from now on.
    #[must_use]
    pub fn kafka_options(mut self, options: &str) -> Self {
        self.broker = format!("{}?{options}", self.broker);
        self
    }

    /// With the spans of the members in turn to each of these collectors.
    #[must_use]
    pub fn collectors(self, collectors: impl IntoIterator<Item = String>) -> Self {
        Self { collectors: collectors.into_iter().collect(), ..self }
    }

    /// Starts those that are not there, side by side, and waits until they serve.
    pub async fn start_all(&mut self) {
        for index in 0..self.members.len() {
            if !self.members[index].is_up() {
                self.launch(index);
            }
        }
        self.all_serve().await;
    }

    /// Starts a member, without waiting for it.
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

    /// Waits until all that run serve.
    pub async fn all_serve(&mut self) {
        for program in self.members.iter_mut().filter_map(|member| member.program.as_mut()) {
            program.serving().await;
        }
    }

    /// `kill -9`.
    pub async fn kill(&mut self, index: usize) {
        self.take(index).kill().await;
    }

    /// Tells a member to stop, which it has to do well and within `limit`.
    pub async fn stop(&mut self, index: usize, limit: Duration) {
        let program = self.take(index);
        program.signal("TERM").await;
        let ended = program.ends_within(limit).await;
        assert_eq!(ended.status.code(), Some(0), "{}: {ended:#?}", self.members[index].name());
    }

    /// Sends `STOP`, `CONT`, ...
    pub async fn signal(&self, index: usize, name: &str) {
        self.members[index].program.as_ref().expect("it runs").signal(name).await;
    }

    /// The process of a member, which does not run any more for the fleet.
    pub fn take(&mut self, index: usize) -> Program {
        self.members[index].program.take().expect("it runs")
    }
}
