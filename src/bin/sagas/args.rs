//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use sagas::{
    dead_letter::{DeadLetterFilter, DeadLetterState},
    saga::InstanceState,
    time::{ParseTimestampError, Timestamp, duration},
};

use super::{error::CliError, places::Place};

/// Show sagas: which instances run, which are stuck, why, and which calls help. Settle dead letters, and request replays.
///
/// Reads the databases of services, while the services run or after they have stopped. It does not need their programs. Five
/// commands write, to one database: `letters retry`, `letters discard`, `replays ask`, `replays cancel` and `migrations apply`.
/// All others change nothing. `explain` prints what an operator can do about an instance; the service that tracks the instance
/// does it.
#[derive(Debug, Parser)]
#[command(name = "sagas", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Print results for programs: one JSON value per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    databases: Databases,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  sagas --data ./ecommerce-data ps
  sagas --data ./ecommerce-data explain 0197c1a2-8d5e-7c3b-9a41-5f2e6d7c8b90
  SAGAS_DATABASE=postgres://shop:secret@db/shop sagas ps --stuck --watch
  sagas --data ./ecommerce-data letters retry --service payment --topic orders --error timeout --dry-run
  sagas --data ./ecommerce-data replays ask --service payment --topic orders --from-time 2026-01-31T12:00:00Z \\
      --reason \"a handler was missing\" --by ann --dry-run
  sagas --database sqlite:data/order.sqlite graph PlaceOrder --format dot | dot -Tsvg > saga.svg

Exit codes: 0 as it should be; 1 not found, findings of `check`, or a database that cannot be read; 2 flags or a URL that cannot
be used.";

/// The databases to read.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is read")]
struct Databases {
    /// The folder with a file SERVICE.sqlite for each service [env: SAGAS_DATA] [default: ./data]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// One database instead: sqlite:PATH, or postgres://USER:PASSWORD@HOST/DATABASE. With PostgreSQL, every schema with the
    /// framework's tables is read, or only the one in ?schema=NAME [env: SAGAS_DATABASE]
    #[arg(long, value_name = "URL", global = true)]
    database: Option<String>,
    /// Only the data of this service
    #[arg(long, value_name = "NAME", global = true)]
    service: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the open instances, newest first
    Ps(Ps),
    /// Show one instance: what is done, what is missing, which service must do it, and which calls help
    Explain(Explain),
    /// Draw a saga
    Graph(Graph),
    /// List what needs an operator; exits with 1 if there is anything
    ///
    /// Finds instances that need attention; undecided instances past their deadline; events that the saga does not allow (in
    /// instances that are open, or began within the last day); open dead letters; open instances of a version without a known
    /// definition; and attempts of steps that began and never ended.
    Check,
    /// List dead letters, and settle them
    Letters(Letters),
    /// Make a service handle a range of a topic again
    Replays(Replays),
    /// Create the framework's tables, or print the SQL that creates them
    Migrations(Migrations),
}

/// The framework's tables.
#[derive(Debug, Args)]
pub(crate) struct Migrations {
    #[command(subcommand)]
    pub(crate) what: MigrationsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrationsCommand {
    /// Print the SQL, for your own migration tool, which runs it in one transaction. Needs no database
    ///
    /// The SQL also records which migrations have run, and services compare this record when they start: run it unchanged.
    Print(PrintMigrations),
    /// Run the outstanding migrations. WRITES to the database
    ///
    /// The database user must have the right to create tables. Services can then start without this right; grant their users
    /// USAGE on the schema, and SELECT, INSERT, UPDATE and DELETE on its tables.
    Apply,
    /// Compare the tables with those of this program; exits with 1 if they differ. Writes nothing
    Check,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("for").required(true))]
pub(crate) struct PrintMigrations {
    /// For PostgreSQL, in the first schema of `search_path`
    #[arg(long, group = "for")]
    pub(crate) postgres: bool,
    /// For SQLite
    #[arg(long, group = "for")]
    pub(crate) sqlite: bool,
    /// Create this schema, and the tables in it
    #[arg(long, value_name = "NAME", conflicts_with = "sqlite")]
    pub(crate) schema: Option<String>,
    /// Only the migrations after this version
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    pub(crate) after: u32,
}

/// Ranges of topics that are handled again.
#[derive(Debug, Args)]
pub(crate) struct Replays {
    #[command(subcommand)]
    pub(crate) what: ReplaysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplaysCommand {
    /// List replays, newest first. Writes nothing
    List {
        /// Only those that have not ended
        #[arg(long)]
        open: bool,
        /// The largest number of replays
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Make one service handle a range of a topic again. WRITES to the service's database
    ///
    /// A running service begins within seconds, any other when it starts. The service then compares the range with the log. It
    /// refuses a range that is larger than the limit, or has lost its first records; `replays list` shows this. While it reads
    /// the range, the other messages of the partition wait. Afterwards the partition continues where it was.
    Ask(AskReplay),
    /// Stop a replay. WRITES to the service's database
    Cancel {
        /// The replay
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("from").required(true), group = clap::ArgGroup::new("to"))]
pub(crate) struct AskReplay {
    /// The topic, which the service must have read before
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: String,
    /// The partition; by default all partitions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,
    /// The first offset
    #[arg(long, value_name = "OFFSET", group = "from", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) from_offset: Option<i64>,
    /// Begin at the first record with this time or a later one, by the log's timestamps: 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", group = "from", value_parser = time)]
    pub(crate) from_time: Option<Timestamp>,
    /// End before this offset; by default at the end that the partition has when the replay begins
    #[arg(long, value_name = "OFFSET", group = "to", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) to_offset: Option<i64>,
    /// End before the first record with this time or a later one
    #[arg(long, value_name = "TIME", group = "to", value_parser = time)]
    pub(crate) to_time: Option<Timestamp>,
    /// Also handle messages that were handled before, with all effects. By default, only messages that were never handled have an
    /// effect
    #[arg(long)]
    pub(crate) again: bool,
    /// The largest number of records in a partition
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) limit: i64,
    /// The reason, which `replays list` shows
    #[arg(long, value_name = "TEXT", value_parser = words)]
    pub(crate) reason: String,
    /// The name of the person who requests the replay
    #[arg(long, value_name = "NAME", value_parser = words)]
    pub(crate) by: String,
    /// Only show what would be requested. Writes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Messages that services have given up.
#[derive(Debug, Args)]
pub(crate) struct Letters {
    #[command(subcommand)]
    pub(crate) what: LettersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LettersCommand {
    /// List dead letters, newest first; by default the open ones. Writes nothing
    List {
        #[command(flatten)]
        filter: LetterFilter,
        /// Only those in this state: open, retried, replayed, discarded, or all
        #[arg(long, value_name = "STATE", default_value = "open", value_parser = letter_state)]
        state: LetterState,
        /// The largest number of dead letters
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show one dead letter with its message. Writes nothing
    Show {
        /// The dead letter
        id: String,
    },
    /// Return open dead letters of one service to their handlers. WRITES to the service's database
    ///
    /// They are retried in the order of topics, partitions and offsets. A running service finds them within seconds, any other
    /// when it starts.
    Retry(SettleLetters),
    /// Discard open dead letters of one service; keys that they hold continue. WRITES to the service's database
    Discard(SettleLetters),
}

/// The state of the listed dead letters; `None` is any state.
pub(crate) type LetterState = Option<DeadLetterState>;

/// A filter for dead letters.
#[derive(Debug, Args)]
pub(crate) struct LetterFilter {
    /// Only those of this topic
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Only those with this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only those of this event type
    #[arg(long = "type", value_name = "NAME")]
    event_type: Option<String>,
    /// Only those with this text in their error
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only those that were given up at this time or later: 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only those that were given up before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct SettleLetters {
    #[command(flatten)]
    pub(crate) filter: LetterFilter,
    /// All open dead letters, if there is no other filter
    #[arg(long)]
    pub(crate) all: bool,
    /// Only count them and show some. Writes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The largest number of dead letters
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
}

impl LetterFilter {
    /// Converts the filter, for dead letters in any state.
    pub(crate) fn read(&self) -> DeadLetterFilter {
        DeadLetterFilter {
            topic: self.topic.clone(),
            key: self.key.clone().map(Into::into),
            event_type: self.event_type.clone(),
            error: self.error.clone(),
            state: None,
            since: self.since,
            until: self.until,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Only those that need attention or are past a deadline, the least recently updated first
    #[arg(long, conflicts_with = "all")]
    pub(crate) stuck: bool,
    /// Also those that have ended
    #[arg(long)]
    pub(crate) all: bool,
    /// Only those of this saga
    #[arg(long, value_name = "NAME")]
    pub(crate) saga: Option<String>,
    /// Only those in this state: running, completing, compensating, completed or aborted
    #[arg(long, value_name = "STATE", value_parser = state)]
    pub(crate) state: Option<InstanceState>,
    /// The largest number of instances
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Repeat until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    /// The time between repetitions: 500ms, 2s, 1m
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration, requires = "watch")]
    pub(crate) every: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The key of the instance's events
    pub(crate) id: String,
    /// The saga, if several sagas have an instance with this key
    #[arg(long, value_name = "NAME")]
    pub(crate) saga: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// The saga; by default all sagas
    pub(crate) saga: Option<String>,
    /// The format of the drawing
    #[arg(long, value_enum, default_value_t = Format::State)]
    pub(crate) format: Format,
    /// The version of the saga; by default the newest
    #[arg(long, value_name = "N")]
    pub(crate) saga_version: Option<u32>,
}

/// A format for drawing a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A state diagram, for Mermaid
    State,
    /// A sequence diagram, for Mermaid
    Sequence,
    /// A graph, for Graphviz
    Dot,
    /// A table of the steps, in Markdown
    Canvas,
}

impl Cli {
    /// The only service to read, if one is named.
    pub(crate) fn service(&self) -> Option<&str> {
        self.databases.service.as_deref()
    }

    /// Where the databases are: from the flags, the environment, or the default.
    ///
    /// # Errors
    /// If two places are named.
    pub(crate) fn place(&self) -> Result<Place, CliError> {
        let Databases { data, database, service } = &self.databases;
        if data.is_some() && database.is_some() {
            return Err(CliError::Usage("--data and --database contradict each other; leave one of them out".into()));
        }
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |value: std::ffi::OsString| {
            value.into_string().map_err(|_| CliError::Usage("SAGAS_DATABASE is no text; write a URL".into()))
        };
        let url = match (database, data) {
            (Some(url), _) => Some(url.clone()),
            (None, Some(_)) => None,
            (None, None) => named("SAGAS_DATABASE").map(text).transpose()?,
        };
        let folder = || data.clone().or_else(|| named("SAGAS_DATA").map(PathBuf::from)).unwrap_or_else(|| "./data".into());
        Ok(Place::new(url, folder, service.clone()))
    }
}

fn state(text: &str) -> Result<InstanceState, String> {
    let states = || InstanceState::ALL.map(|state| state.as_str().to_lowercase()).join(", ");
    InstanceState::of(&text.to_uppercase()).ok_or_else(|| format!("there are {}", states()))
}

fn letter_state(text: &str) -> Result<LetterState, String> {
    let states = || DeadLetterState::ALL.map(DeadLetterState::as_str).join(", ");
    match text {
        "all" => Ok(None),
        text => DeadLetterState::of(text).map(Some).ok_or_else(|| format!("there are {}, and all", states())),
    }
}

/// Checks that a text has 1 to 1,000 characters.
fn words(text: &str) -> Result<String, String> {
    match text.trim().chars().count() {
        0 => Err("write 1 to 1,000 characters".to_owned()),
        1..=1_000 => Ok(text.trim().to_owned()),
        _ => Err("1,000 characters at most".to_owned()),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error: ParseTimestampError| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    // A screen that changes more often cannot be read, and a refresh less often than daily is probably a mistake.
    let sensible = Duration::from_millis(100)..=Duration::from_secs(86_400);
    match duration::parse(text) {
        Some(every) if sensible.contains(&every) => Ok(every),
        Some(_) => Err(format!("write a time from {} to {}", duration::text(*sensible.start()), duration::text(*sensible.end()))),
        None => Err(format!("write {}", duration::FORM)),
    }
}
