//! An Apache Kafka and a PostgreSQL of a test's own, through the scripts that users have.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// Whose turn it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for the turn to use the machine.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// A folder that the user `postgres` may go through to its own.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

/// Both servers, and the turn to use the machine. They end with it.
pub struct Servers {
    pub kafka: Server,
    pub postgres: Server,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Servers {
    /// Waits for its turn, and starts them on free ports.
    pub async fn start() -> Self {
        let (turn, folder) = (turn().await, folder());
        let (kafka, postgres) = (Server::new("kafka", folder.path()), Server::new("postgres", folder.path()));
        tokio::join!(kafka.run(&["start", "--port", "0"]), postgres.run(&["start", "--port", "0"]));
        Self { kafka, postgres, folder, _turn: turn }
    }

    /// A folder beside the servers' data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `host:port` of Kafka.
    pub async fn bootstrap(&self) -> String {
        self.kafka.run(&["address"]).await
    }

    /// The URL of the database.
    pub async fn database(&self) -> String {
        self.postgres.run(&["url"]).await
    }
}

/// A server with its data in a folder of its own. Removed when dropped.
pub struct Server {
    script: PathBuf,
    data: PathBuf,
}

impl Server {
    /// The server of that script, in a folder of its own below `folder`. It does not run yet.
    pub fn new(script: &str, folder: &Path) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        Self { script: scripts.join(script), data: folder.join(script) }
    }

    /// Runs the script with these arguments, and gives what it says.
    ///
    /// # Panics
    /// When it fails: no server can be started here.
    pub async fn run(&self, args: &[&str]) -> String {
        let (code, said) = self.try_to(args).await;
        assert_eq!(code, Some(0), "{} {args:?}: {said}", self.script.display());
        said.trim_end().to_owned()
    }

    /// Runs the script with these arguments; its exit code, and what it says: of a failure, the complaint.
    pub async fn try_to(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = if output.status.success() { output.stdout } else { [output.stdout, output.stderr].concat() };
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Where its data lie.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Sends `STOP`, `CONT`, .. to its process. PostgreSQL's sessions are processes of their own, and stay awake.
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
