//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use sagas::{
    saga::InstanceState,
    store::{DeadLetterFilter, DeadLetterState},
    time::{ParseTimestampError, Timestamp},
};

use super::{places::Place, trouble::Trouble};

/// Look at sagas: which run, which are stuck, why, and what helps; settle dead letters, and ask for replays.
///
/// Reads the databases of services, while they run or after they have stopped. It needs none of their programs. Four commands write,
/// to the database of one service: `letters retry`, `letters discard`, `replays ask` and `replays cancel`. All others change nothing:
/// what an operator can do about an instance is said by `explain`, and done by the service that tracks it.
#[derive(Debug, Parser)]
#[command(name = "sagas", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Print results for programs: one JSON value a line
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
  sagas --database sqlite:data/order.sqlite graph PlaceOrder --format dot | dot -Tsvg > flow.svg

Exit codes: 0 as it should be; 1 not found, findings of `check`, or a database that cannot be read; 2 flags or a URL that cannot
be used.";

/// Where the databases are.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is read")]
struct Databases {
    /// The folder with a file SERVICE.sqlite for each service [env: SAGAS_DATA] [default: ./data]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// One database instead: sqlite:PATH, or postgres://USER:PASSWORD@HOST/DATABASE, of which every schema with the framework's
    /// tables is read, or the one named by ?schema=NAME [env: SAGAS_DATABASE]
    #[arg(long, value_name = "URL", global = true)]
    database: Option<String>,
    /// Only what this service keeps
    #[arg(long, value_name = "NAME", global = true)]
    service: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List instances: those that are open, newest first
    Ps(Ps),
    /// Tell the story of one instance: what is done, what is missing, who should do it, and what helps
    Explain(Explain),
    /// Draw a flow
    Graph(Graph),
    /// Look for what somebody should see to; exits with 1 if there is anything
    ///
    /// Finds instances that need attention or are past their deadline and undecided, events that the flow does not allow (of
    /// instances that are open, or began within the last day), open dead letters of flows, open instances of a version whose flow
    /// is not known, and attempts at steps that were begun and never ended.
    Check,
    /// Look at dead letters, and settle them
    Letters(Letters),
    /// Have a service read a range of a topic once more
    Replays(Replays),
}

/// Ranges of topics that are read once more.
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
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Have one service read a range once more. WRITES to the service's database
    ///
    /// The service, if it runs, begins within seconds; else when it starts. It compares the range with what the log has then, and
    /// refuses one whose first records are gone or that is beyond the limit, which `replays list` shows. While a range is read, the
    /// rest of its partition waits; afterwards it goes on where it was.
    Ask(AskReplay),
    /// End a replay where it is. WRITES to the service's database
    Cancel {
        /// The replay
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("from").required(true), group = clap::ArgGroup::new("to"))]
pub(crate) struct AskReplay {
    /// The topic: one that the service has read
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: String,
    /// The partition; all of them if none is named
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,
    /// The first offset
    #[arg(long, value_name = "OFFSET", group = "from", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) from_offset: Option<i64>,
    /// From the first record that is as young, by the log's timestamps: 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", group = "from", value_parser = time)]
    pub(crate) from_time: Option<Timestamp>,
    /// The offset before which it ends; where the partition ends when it is begun, if nothing is said
    #[arg(long, value_name = "OFFSET", group = "to", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) to_offset: Option<i64>,
    /// The time before which the last record was published
    #[arg(long, value_name = "TIME", group = "to", value_parser = time)]
    pub(crate) to_time: Option<Timestamp>,
    /// Handle again what was handled before, with all its effects. Without it only what was never handled has an effect
    #[arg(long)]
    pub(crate) again: bool,
    /// The most records of a partition
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) limit: i64,
    /// Why, for those who look at it later
    #[arg(long, value_name = "TEXT", value_parser = words)]
    pub(crate) reason: String,
    /// Who wants it
    #[arg(long, value_name = "NAME", value_parser = words)]
    pub(crate) by: String,
    /// Only show what would be asked for. Writes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Messages that services gave up.
#[derive(Debug, Args)]
pub(crate) struct Letters {
    #[command(subcommand)]
    pub(crate) what: LettersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LettersCommand {
    /// List dead letters: those that are open, newest first. Writes nothing
    List {
        #[command(flatten)]
        filter: LetterFilter,
        /// Only those in this state: open, retried, replayed, discarded, or all
        #[arg(long, value_name = "STATE", default_value = "open", value_parser = letter_state)]
        state: LetterState,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show one dead letter with its message. Writes nothing
    Show {
        /// The letter
        id: String,
    },
    /// Give open dead letters of one service back to their handlers. WRITES to the service's database
    ///
    /// The service, if it runs, finds them there within seconds; else when it starts. In the order of topics, partitions and offsets.
    Retry(SettleLetters),
    /// Give open dead letters of one service up; keys that are held for them go on. WRITES to the service's database
    Discard(SettleLetters),
}

/// The state in which listed letters are; `None`: any.
pub(crate) type LetterState = Option<DeadLetterState>;

/// Which dead letters.
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
    /// Only those given up at this time or later: 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only those given up before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct SettleLetters {
    #[command(flatten)]
    pub(crate) filter: LetterFilter,
    /// All that are open, where nothing says which
    #[arg(long)]
    pub(crate) all: bool,
    /// Only say how many there are, and show some. Writes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
}

impl LetterFilter {
    /// The filter, of letters in any state.
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
    /// Only those that need attention or are past a deadline, the stalest first
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
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Show it again and again, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    /// How often: 500ms, 2s, 1m
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration, requires = "watch")]
    pub(crate) every: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The instance: the key of its events
    pub(crate) id: String,
    /// The saga, if several have an instance of that key
    #[arg(long, value_name = "NAME")]
    pub(crate) saga: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// The saga; all of them if none is named
    pub(crate) saga: Option<String>,
    /// As what
    #[arg(long, value_enum, default_value_t = Format::State)]
    pub(crate) format: Format,
    /// The version of the flow; the newest if none is named
    #[arg(long, value_name = "N")]
    pub(crate) flow_version: Option<u32>,
}

/// What a flow is drawn as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A state diagram, in Mermaid
    State,
    /// A sequence diagram, in Mermaid
    Sequence,
    /// A graph, for Graphviz
    Dot,
    /// A table of its steps, in Markdown
    Canvas,
}

impl Cli {
    /// The only service that is wanted.
    pub(crate) fn service(&self) -> Option<&str> {
        self.databases.service.as_deref()
    }

    /// Where the databases are, by flag, environment, or default.
    ///
    /// # Errors
    /// When two places are named.
    pub(crate) fn place(&self) -> Result<Place, Trouble> {
        let Databases { data, database, service } = &self.databases;
        if data.is_some() && database.is_some() {
            return Err(Trouble::Usage("--data and --database contradict each other; leave one of them out".into()));
        }
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |value: std::ffi::OsString| {
            value.into_string().map_err(|_| Trouble::Usage("SAGAS_DATABASE is no text; write a URL".into()))
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

/// What people say, in 1 to 1,000 characters.
fn words(text: &str) -> Result<String, String> {
    match text.trim().chars().count() {
        0 => Err("say it in a few words".to_owned()),
        1..=1_000 => Ok(text.trim().to_owned()),
        _ => Err("1,000 characters at most".to_owned()),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error: ParseTimestampError| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and its unit, as in 500ms, 2s or 1m".to_owned();
    let unit = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..unit].parse().map_err(|_| wrong())?;
    let millis = match &text[unit..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    // A screen that is drawn more often is read by nobody, and one that is drawn less than daily neither.
    match number.checked_mul(millis) {
        Some(millis @ 100..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err("between 100ms and 1440m".to_owned()),
    }
}
