//! The log lines about a delivery that failed.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use sagas::{
    Operators,
    prelude::*,
    testing::Pump,
    transport::{
        embedded::{Embedded, EmbeddedOptions},
        memory::Memory,
    },
};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::*;

/// The captured log lines.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Captures the lines of this thread while the guard lives.
    pub fn heard(level: tracing::Level) -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).with_max_level(level);
        let guard = tracing::subscriber::set_default(subscriber.finish());
        (lines, guard)
    }

    /// Returns the lines that contain `what`.
    pub fn with(&self, what: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[handler]
async fn speak(On(_placed): On<Placed>, meta: Meta) -> Result<(), Failure> {
    tracing::info!(span = meta.trace.traceparent(), "spoken");
    if meta.attempt == 1 { Err(Failure::retry("planned")) } else { Ok(()) }
}

#[tokio::test]
async fn lines_carry_the_ids_of_the_trace_and_of_the_delivery() {
    let (lines, _guard) = Lines::heard(tracing::Level::INFO);
    let pump = Pump::of([Service::new("speaker", Database::memory()).handlers(handlers![speak])]).start().await;
    pump.publish(&placed("a", 0)).await;
    pump.run_until_quiet().await;
    pump.advance(Duration::from_secs(2)).await;
    let records = pump.records(Placed::TOPIC).await;
    let trace = records[0].record.header("traceparent").unwrap().split('-').nth(1).unwrap().to_owned();
    let (spoken, failed) = (lines.with("spoken"), lines.with("delivery failed"));
    assert_eq!((spoken.len(), failed.len()), (2, 1), "{spoken:?}");
    let mut spans = std::collections::BTreeSet::new();
    for line in spoken.iter().chain(&failed) {
        assert!(line.contains(&format!("trace_id={trace}")), "{line}");
    }
    for line in &spoken {
        let span = line.split("span_id=").nth(1).unwrap().split([' ', '}']).next().unwrap();
        assert!(line.contains(&format!("00-{trace}-{span}-01")), "the handler knows its span: {line}");
        spans.insert(span);
    }
    assert_eq!(spans.len(), 2, "each attempt is a span of its own");
    pump.stop().await;
}

#[tokio::test]
async fn not_now_is_put_off_and_no_failure() {
    let (lines, _guard) = Lines::heard(tracing::Level::DEBUG);
    let plan = Plan::new(|placed, meta| match (placed.number, meta.now < clock().now().after(Duration::from_secs(1))) {
        (0, true) => Step::Later(Duration::from_secs(7)),
        (1, true) => Step::Retry,
        _ => Step::Done,
    });
    let pump = Pump::of([service(&Database::memory(), &plan).handlers(handlers![bare])]).start().await;
    pump.publish(&placed("a", 0)).await;
    pump.publish(&placed("b", 1)).await;
    pump.run_until_quiet().await;
    let (put_off, failed) = (lines.with("put off"), lines.with("delivery failed"));
    assert_eq!((put_off.len(), failed.len()), (1, 1), "{put_off:?} {failed:?}");
    assert!(put_off[0].contains("DEBUG") && put_off[0].contains("put off by its handler for 7s"), "{put_off:?}");
    assert!(put_off[0].contains("handler=\"bare\"") && put_off[0].contains("message_id="), "{put_off:?}");
    assert!(failed[0].contains("INFO") && failed[0].contains("planned"), "{failed:?}");
    pump.stop().await;
}

#[handler(retry(max = 3, backoff = "1s..1s"))]
async fn break_down(On(_placed): On<Placed>) -> Result<(), Failure> {
    Err(Failure::retry("a part is missing"))
}

#[tokio::test]
async fn what_fails_again_is_a_warning_that_says_what_and_when() {
    let (lines, _guard) = Lines::heard(tracing::Level::INFO);
    let pump = Pump::of([Service::new("workshop", Database::memory()).handlers(handlers![break_down])]).start().await;
    pump.publish(&placed("a", 0)).await;
    for _ in 0..4 {
        pump.advance(Duration::from_secs(2)).await;
    }
    let told = lines.with("a part is missing");
    let [first, second, last] = &told[..] else { panic!("each failure is told once: {told:#?}") };
    for line in &told {
        for said in
            ["service=\"workshop\"", "handler=\"break_down\"", "event=\"Placed\"", "topic=\"orders\"", "key=a", "message_id="]
        {
            assert!(line.contains(said), "{said}: {line}");
        }
    }
    assert!(first.contains(" INFO ") && first.contains("delivery failed") && first.contains("attempt=1"), "{first}");
    assert!(second.contains(" WARN ") && second.contains("delivery failed") && second.contains("attempt=2"), "{second}");
    assert!(second.contains("next_attempt=2026-01-01T00:00:0"), "{second}");
    assert!(last.contains(" WARN ") && last.contains("dead-lettered") && last.contains("attempts=3"), "{last}");
    pump.stop().await;
}

#[tokio::test]
async fn a_service_says_what_it_is_when_it_starts_and_that_it_has_stopped() {
    let (lines, _guard) = Lines::heard(tracing::Level::INFO);
    let pump = Pump::of([Service::new("speaker", Database::memory()).handlers(handlers![speak])]).start().await;
    pump.stop().await;
    let (started, stopped) = (lines.with("the service has started"), lines.with("the service has stopped"));
    assert_eq!((started.len(), stopped.len()), (1, 1), "{started:?} {stopped:?}");
    let said = format!(
        "group=\"speaker\" reads=[\"{}\"] log=\"memory\" database=\"memory\" database_version=\"unknown\" listener=\"none\" \
         operators=\"none\" sagas=\"{}\"",
        Placed::TOPIC,
        env!("CARGO_PKG_VERSION")
    );
    assert!(started[0].contains("service=\"speaker\"") && started[0].contains(&said), "{started:?}");
}

#[tokio::test]
async fn a_start_says_that_a_program_mounts_the_routes_of_operators_itself() {
    let (lines, _guard) = Lines::heard(tracing::Level::INFO);
    let operators = Operators::mounted().token("a-token-of-thirty-two-characters");
    let service = Service::new("speaker", Database::memory()).handlers(handlers![speak]).operators(operators);
    App::new("said").service(service).start(Arc::new(Memory::new())).await.unwrap().stop().await;
    let started = lines.with("the service has started");
    assert!(started[0].contains("operators=\"where the program mounts them\""), "{started:?}");
}

#[tokio::test]
async fn a_start_says_the_versions_of_its_servers() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, _guard) = Lines::heard(tracing::Level::INFO);
    let database = Database::open("sqlite::memory:").await.unwrap();
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&database).await.unwrap();
    let log = Embedded::open(folder.path(), EmbeddedOptions::default()).await.unwrap();
    let running =
        App::new("said").service(Service::new("speaker", database).handlers(handlers![speak])).start(log).await.unwrap();
    running.stop().await;
    let started = lines.with("the service has started");
    assert_eq!(started.len(), 1, "{started:?}");
    assert!(started[0].contains(&format!("log=\"embedded, in {}\"", folder.path().display())), "{started:?}");
    assert!(started[0].contains(&format!("database_version=\"{version}\"")), "{started:?}");
}
