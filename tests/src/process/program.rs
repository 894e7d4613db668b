//! The program under test: started as a process of its own, listened to, signalled, killed. None outlives its test.

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

/// How long the program may take to serve, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// `executable` with these arguments, in an environment that sets nothing of it.
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

/// A port with four free ones behind it, given to no other test of this process.
///
/// # Panics
/// When there is none.
pub fn free_base_port() -> u16 {
    /// Below what systems give to outgoing connections.
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

/// A process.
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
    /// The lines of its output.
    pub stdout: Vec<String>,
    /// What it complained of.
    pub stderr: String,
}

impl Program {
    /// Starts the command.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let stdout = Transcript::of(child.stdout.take().unwrap());
        let stderr = Transcript::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Runs the command to its end, which has to come within `limit`.
    ///
    /// # Panics
    /// When it does not.
    pub async fn run(command: &mut Command, limit: Duration) -> Ended {
        Self::start(command).ends_within(limit).await
    }

    /// Waits until the services can be called, and gives what the program says of them: `{"order": "http://…", ..}`.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn serving(&mut self) -> Value {
        let line = |lines: &[String]| lines.iter().filter_map(|line| serde_json::from_str(line).ok()).find_map(serving);
        let mut stdout = self.stdout.0.clone();
        let said = stdout.wait_for(|lines| line(lines).is_some());
        match timeout(START, said).await {
            Ok(Ok(lines)) => line(&lines).unwrap(),
            _ => panic!("the program does not serve\nstdout: {:#?}\nstderr: {}", self.stdout.lines(), self.stderr.text()),
        }
    }

    /// The lines of its output so far.
    pub fn printed(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// The process id.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends `INT`, `TERM`, ...
    ///
    /// # Panics
    /// When it has ended.
    pub async fn signal(&self, name: &str) {
        // The shell has `kill` built in; the program of that name is not everywhere.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status().await.unwrap();
        assert!(sent.success(), "SIG{name} could not be sent: {sent}");
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it has ended by itself.
    pub async fn kill(mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("the program has ended by itself: {status}\nstderr: {}", self.stderr.text());
        }
        self.child.kill().await.unwrap();
    }

    /// Waits for the end, which has to come within `limit`.
    ///
    /// # Panics
    /// When it does not.
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

/// Asks until there is an answer.
///
/// # Panics
/// With the last refusal, when there is none within `limit`.
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
