//! The program under test, run as its own process: its output is read, and it can be signalled and killed. It does not outlive
//! its test.

use std::{
    ffi::OsStr,
    net::TcpListener,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    time::{sleep, timeout},
};

/// How long the program can take to start, on a machine that also runs other tests.
const START: Duration = Duration::from_secs(60);

/// Returns a command that runs `executable` with these arguments, without environment variables that configure it.
pub fn command<A: AsRef<OsStr>>(executable: &str, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(executable);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("ECOMMERCE_") || name.starts_with("OTEL_") || name == "RUST_LOG" {
            command.env_remove(&*name);
        }
    }
    command
}

/// Returns a port that is free together with the next four, and that no other test of this process is given.
///
/// # Panics
/// Panics when no ports are free.
pub fn free_base_port() -> u16 {
    /// The ports are below the range that systems use for outgoing connections.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 1_000).unwrap() * 10;
    for _ in 0..500 {
        let base = 12_000 + (spread + NEXT.fetch_add(10, Ordering::Relaxed)) % 18_000;
        if (base..base + 5).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
    panic!("there are no five free ports in a row");
}

/// A running process.
pub struct Program {
    child: Child,
    stdout: Transcript,
    stderr: Transcript,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// The lines of its standard output.
    pub stdout: Vec<String>,
    /// Its standard error.
    pub stderr: String,
}

impl Program {
    /// Starts the command.
    ///
    /// # Panics
    /// Panics when it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let stdout = Transcript::of(child.stdout.take().unwrap());
        let stderr = Transcript::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    /// Panics when it does not end within `limit`.
    pub async fn run(command: &mut Command, limit: Duration) -> Ended {
        Self::start(command).ends_within(limit).await
    }

    /// Waits until the services can be called, and returns their URLs as the program prints them: `{"order": "http://…", ..}`.
    ///
    /// # Panics
    /// Panics when that takes too long.
    pub async fn serving(&mut self) -> Value {
        let line = |lines: &[String]| lines.iter().filter_map(|line| serde_json::from_str(line).ok()).find_map(serving);
        let mut stdout = self.stdout.0.clone();
        let said = stdout.wait_for(|lines| line(lines).is_some());
        match timeout(START, said).await {
            Ok(Ok(lines)) => line(&lines).unwrap(),
            _ => panic!("the program does not serve\nstdout: {:#?}\nstderr: {}", self.stdout.lines(), self.stderr.text()),
        }
    }

    /// Returns the lines of standard output so far.
    pub fn printed(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// Returns the process id.
    ///
    /// # Panics
    /// Panics when the process has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal: `INT`, `TERM`, ...
    ///
    /// # Panics
    /// Panics when the process has ended.
    pub async fn signal(&self, name: &str) {
        // `kill` is built into the shell; not every system has the program of that name.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status().await.unwrap();
        assert!(sent.success(), "SIG{name} could not be sent: {sent}");
    }

    /// Kills the process with `SIGKILL`.
    ///
    /// # Panics
    /// Panics when it has ended by itself.
    pub async fn kill(mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("the program has ended by itself: {status}\nstderr: {}", self.stderr.text());
        }
        self.child.kill().await.unwrap();
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// Panics when it does not end within `limit`.
    pub async fn ends_within(mut self, limit: Duration) -> Ended {
        let Ok(status) = timeout(limit, self.child.wait()).await else {
            panic!("still there after {limit:?}\nstdout: {:#?}\nstderr: {}", self.stdout.lines(), self.stderr.text())
        };
        self.stdout.complete().await;
        self.stderr.complete().await;
        Ended { status: status.unwrap(), stdout: self.stdout.lines(), stderr: self.stderr.text() }
    }
}

fn serving(value: Value) -> Option<Value> {
    value.get("serving").cloned()
}

/// The lines of a stream so far.
struct Transcript(watch::Receiver<Vec<String>>);

impl Transcript {
    fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (lines, receiver) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream).lines();
            while let Ok(Some(line)) = stream.next_line().await {
                lines.send_modify(|lines| lines.push(line));
            }
        });
        Self(receiver)
    }

    /// Waits until the process has closed the stream.
    async fn complete(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    fn text(&self) -> String {
        self.lines().join("\n")
    }
}

/// Repeats `ask` until it succeeds.
///
/// # Panics
/// Panics with the last error when it does not succeed within `limit`.
pub async fn eventually<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut last = String::from("nothing yet");
    let asked = timeout(limit, async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(refusal) => last = refusal,
            }
            sleep(Duration::from_millis(25)).await;
        }
    });
    match asked.await {
        Ok(answer) => answer,
        Err(_) => panic!("{what}: not within {limit:?}; last: {last}"),
    }
}
