//! The cost of traces: a service consumes, handles and publishes, and sends the spans of all traces, of 1 % of them or of none to
//! a collector. With a binary built without the feature `otel`, that is compared too.
//!
//! ```text
//! cargo build --release -p sagas-benches --bin traced --target-dir target/untraced
//! cargo run --release -p sagas-benches --bin traced --features otel -- --without target/untraced/release/traced
//! ```
//!
//! The log is in memory, and the store is in memory or SQLite. The result is processor time of the service's process, to which a
//! broker would only add noise. Each variant runs in its own process, in turn, for several rounds; the collector is another
//! process. The result is the ratio to the variant `off` of the same round.

#![allow(clippy::print_stdout)]

#[allow(dead_code, reason = "shared with another binary, which uses more of it")]
mod measure;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, OnceLock},
};

use axum::{Router, routing::post};
use clap::{Parser, ValueEnum};
use sagas::{
    id::IdSource,
    message::{Context, Outgoing, TraceContext},
    port::transport::{TopicSpec, Transport},
    prelude::*,
    time::Clock,
    transport::memory::Memory,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::measure::{Measured, Moment};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The cost of traces.
#[derive(Debug, Clone, Parser)]
#[command(name = "traced")]
struct Options {
    /// Messages in each run
    #[arg(long, default_value_t = 30_000)]
    messages: usize,
    /// Number of runs of each variant
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// This program, built without the feature `otel`
    #[arg(long)]
    without: Option<PathBuf>,
    /// Run only this variant, in this process, and print its result
    #[arg(long, hide = true)]
    variant: Option<Variant>,
    /// The store of the service
    #[arg(long, hide = true, default_value = "memory")]
    store: Kept,
    /// The address of the collector
    #[arg(long, hide = true, default_value = "")]
    collector: String,
    /// Run the collector, and print its address
    #[arg(long, hide = true)]
    collect: bool,
}

/// The variants that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Variant {
    /// Built without the feature.
    Without,
    /// Built with the feature, without a collector.
    Off,
    /// One trace in a hundred is sent.
    Some,
    /// All traces are sent.
    All,
}

/// The store of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kept {
    Memory,
    Sqlite,
}

#[event(topic = "payments", key = account)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Paid {
    account: String,
    amount: i64,
    note: String,
}

#[event(topic = "applied", key = account)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Applied {
    account: String,
    amount: i64,
}

#[handler]
async fn apply(On(paid): On<Paid>, State(start): State<Arc<OnceLock<Moment>>>) -> Applied {
    start.get_or_init(Moment::now);
    Applied { account: paid.account, amount: paid.amount }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options = Options::parse();
    match options.variant {
        _ if options.collect => collect().await,
        Some(variant) => {
            println!("{}", serde_json::to_string(&run(&options, variant).await?)?);
            Ok(())
        }
        None => compare(&options).await,
    }
}

/// Measures one run: the messages are in the log at the start, and the run ends when all their results are published.
async fn run(options: &Options, variant: Variant) -> Result<Measured, Error> {
    let (clock, ids) = (Clock::system(), IdSource::random());
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let spec = |name: &str| TopicSpec { name: name.to_owned(), partitions: 3 };
    log.ensure_topics(&[spec(Paid::TOPIC), spec(Applied::TOPIC)]).await?;
    for first in (0..options.messages).step_by(500) {
        let records = (first..options.messages.min(first + 500)).map(|number| {
            let paid = Paid { account: format!("a{}", number % 1_000), amount: 1, note: "x".repeat(200) };
            // Like a service that begins traces: it samples a part of them.
            let told = match variant {
                Variant::All | Variant::Off | Variant::Without => true,
                Variant::Some => number % 100 == 0,
            };
            let context = Context::root("bench", TraceContext::root(&ids).with_sampled(told));
            let now = clock.now();
            Outgoing::of(&paid).map(|event| event.into_record(&ids.uuid(now).into(), "bench", now, &context))
        });
        let published = log.publish(records.collect::<Result<_, _>>().map_err(|fault| fault.to_string())?).await;
        published.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    let folder = std::env::temp_dir().join(format!("sagas-traced-{}", std::process::id()));
    let database = match options.store {
        Kept::Memory => Database::memory(),
        Kept::Sqlite => {
            std::fs::create_dir_all(&folder)?;
            Database::open(&format!("sqlite:{}", folder.join("bench.sqlite").display())).await?
        }
    };
    let start = Arc::new(OnceLock::<Moment>::new());
    let service = Service::new("bench", database).state(start.clone()).handlers(handlers![apply]);
    let app = with_traces(App::new("bench").service(service), &options.collector)?;
    let handle = app.start(log).await?;
    handle.quiet().await;
    let measured = start.get().ok_or("nothing was handled")?.measure(options.messages)?;
    let dropped = handle.service("bench").map(|service| service.metrics().render()).unwrap_or_default();
    let dropped: Vec<_> = dropped.lines().filter(|line| line.starts_with("sagas_spans_") && !line.ends_with(" 0")).collect();
    if !dropped.is_empty() {
        eprint(&dropped.join(", "));
    }
    handle.stop().await;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(measured)
}

#[expect(clippy::print_stderr, reason = "standard output has the measurements")]
fn eprint(text: &str) {
    eprintln!("  {text}");
}

#[cfg(feature = "otel")]
fn with_traces(app: App, collector: &str) -> Result<App, Error> {
    let traces = match collector {
        "" => sagas::Traces::off(),
        url => sagas::Traces::otlp(&sagas::TraceSettings::to(url))?.queue(1 << 20),
    };
    Ok(app.traces(traces))
}

#[cfg(not(feature = "otel"))]
fn with_traces(app: App, _: &str) -> Result<App, Error> {
    Ok(app)
}

/// Accepts spans and discards them.
async fn collect() -> Result<(), Error> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/v1/traces", post(async |_: axum::body::Bytes| ()));
    let router = router.layer(axum::extract::DefaultBodyLimit::disable());
    Ok(axum::serve(listener, router).await?)
}

async fn compare(options: &Options) -> Result<(), Error> {
    if !cfg!(feature = "otel") {
        return Err("build it with --features otel; the binary without the feature is what --without names".into());
    }
    let this = std::env::current_exe()?;
    let mut collector =
        Command::new(&this).arg("--collect").stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn()?;
    let said = collector.stdout.take().ok_or("the collector says nothing")?;
    let url = BufReader::new(said).lines().next_line().await?.ok_or("the collector has ended")?;
    let mut variants = vec![Variant::Off, Variant::Some, Variant::All];
    variants.extend(options.without.as_ref().map(|_| Variant::Without));
    for store in [Kept::Memory, Kept::Sqlite] {
        let mut measured: BTreeMap<Variant, Vec<Measured>> = BTreeMap::new();
        for round in 0..=options.rounds {
            for at in 0..variants.len() {
                // The variants take turns in starting a round.
                let variant = variants[(at + round) % variants.len()];
                let program = options.without.as_ref().filter(|_| variant == Variant::Without).unwrap_or(&this);
                let mut command = Command::new(program);
                command.args(["--variant", variant.to_possible_value().as_ref().map_or("off", |value| value.get_name())]);
                command.args(["--messages", &options.messages.to_string()]);
                command.args(["--store", store.to_possible_value().as_ref().map_or("memory", |value| value.get_name())]);
                if matches!(variant, Variant::Some | Variant::All) {
                    command.args(["--collector", &url]);
                }
                let output = command.stderr(Stdio::inherit()).output().await?;
                if !output.status.success() {
                    return Err(format!("{variant:?} ended with {}", output.status).into());
                }
                // The first round is a warm-up.
                if round > 0 {
                    measured.entry(variant).or_default().push(serde_json::from_slice(&output.stdout)?);
                }
            }
        }
        report(store, &measured);
    }
    Ok(())
}

fn report(store: Kept, measured: &BTreeMap<Variant, Vec<Measured>>) {
    println!("{store:?}: processor time of a message, and its ratio to `off` of the same round: the median (least to most)");
    let off = &measured[&Variant::Off];
    for (variant, runs) in measured {
        let mut ratios: Vec<_> = runs.iter().zip(off).map(|(run, off)| run.cpu_micros() / off.cpu_micros()).collect();
        let mut micros: Vec<_> = runs.iter().map(Measured::cpu_micros).collect();
        ratios.sort_by(f64::total_cmp);
        micros.sort_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        let (ratio, micro) = (ratios[ratios.len() / 2], micros[micros.len() / 2]);
        println!("  {:<8} {micro:>7.1} µs   {ratio:.2} ({least:.2} to {most:.2})", format!("{variant:?}").to_lowercase());
    }
}
