//! An Apache Kafka and a PostgreSQL for one test, started by the scripts for users.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// The lock for the use of the machine.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for exclusive use of the machine.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// Creates a folder that the user `postgres` can traverse to reach its own.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

/// Both servers, with exclusive use of the machine. Dropping this stops them.
pub struct Servers {
    pub kafka: Server,
    pub postgres: Server,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Servers {
    /// Waits for exclusive use of the machine, and starts the servers on free ports.
    pub async fn start() -> Self {
        let (turn, folder) = (turn().await, folder());
        let (kafka, postgres) = (Server::new("kafka", folder.path()), Server::new("postgres", folder.path()));
        tokio::join!(kafka.run(&["start", "--port", "0"]), postgres.run(&["start", "--port", "0"]));
        Self { kafka, postgres, folder, _turn: turn }
    }

    /// Returns a folder next to the servers' data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns `host:port` of Kafka.
    pub async fn bootstrap(&self) -> String {
        self.kafka.run(&["address"]).await
    }

    /// Returns the URL of the database.
    pub async fn database(&self) -> String {
        self.postgres.run(&["url"]).await
    }
}

/// A server with its data in its own folder. Dropping it removes both.
pub struct Server {
    script: PathBuf,
    data: PathBuf,
}

impl Server {
    /// Returns the server of that script, in a new folder below `folder`. It is not started.
    pub fn new(script: &str, folder: &Path) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        Self { script: scripts.join(script), data: folder.join(script) }
    }

    /// Runs the script with these arguments, and returns its output.
    ///
    /// # Panics
    /// Panics when the script fails: no server can be started here.
    pub async fn run(&self, args: &[&str]) -> String {
        let (code, said) = self.try_to(args).await;
        assert_eq!(code, Some(0), "{} {args:?}: {said}", self.script.display());
        said.trim_end().to_owned()
    }

    /// Runs the script with these arguments; returns its exit code and its output or, after a failure, its error.
    pub async fn try_to(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = if output.status.success() { output.stdout } else { [output.stdout, output.stderr].concat() };
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Returns the folder of its data.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Sends a signal, such as `STOP` or `CONT`, to its process. Sessions of PostgreSQL are separate processes, and continue.
    pub async fn signal(&self, name: &str) {
        let pid = self.run(&["pid"]).await;
        let sent = tokio::process::Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status().await.unwrap();
        assert!(sent.success(), "SIG{name} could not be sent to {}: {sent}", self.script.display());
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.script);
        command.args(args).arg("--data").arg(&self.data).stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let wiped = self.command(&["wipe", "--now"]).output();
        if !wiped.as_ref().is_ok_and(|output| output.status.success()) && !std::thread::panicking() {
            panic!("{} wipe: {wiped:?}", self.script.display());
        }
    }
}
