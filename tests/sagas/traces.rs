//! The spans of a saga: one order is one trace, whatever happens to it.

use std::{sync::Arc, time::Duration};

use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use sagas::{Aborting, Traces, message::TraceContext, prelude::*, testing::Pump, transport::memory::Memory};
use sagas_tests::traces::{Gathered, Spans, text};

use crate::{
    shop::{
        Created, PlaceOrder,
        conduct::{Act, Point},
    },
    stage::{Site, Stage, clock, metric, settings, until, until_attention},
};

const DEADLINE: Duration = Duration::from_secs(15 * 60);

fn site() -> Site {
    let clock = clock();
    Site { clock: clock.clone(), ..Site::on(Memory::with_clock(clock), 100) }
}

async fn open(site: &Site, traces: Traces) -> Stage {
    open_with(site, site.services(), traces).await
}

async fn open_with(site: &Site, services: impl IntoIterator<Item = Service>, traces: Traces) -> Stage {
    let pump = Pump::of(services).on(site.log.clone()).clock(site.clock.clone()).traces(traces).start().await;
    Stage { pump, shop: site.shop.clone() }
}

/// Plays with one order, and returns its spans, which must be one trace.
async fn told(play: impl AsyncFnOnce(&Stage)) -> Spans {
    let gathered = Gathered::default();
    let stage = open(&site(), gathered.traces()).await;
    play(&stage).await;
    stage.pump.run_until_quiet().await;
    stage.pump.stop().await;
    let spans = gathered.spans();
    spans.assert_one_trace();
    spans
}

/// Returns the span of the single event named `name`.
fn made<'s>(spans: &'s Spans, name: &str) -> &'s sagas_tests::traces::Told {
    let of_event = |span: &&sagas_tests::traces::Told| span.kind == "producer" && span.attribute("sagas.event") == name;
    let found: Vec<_> = spans.0.iter().filter(of_event).collect();
    assert_eq!(found.len(), 1, "{name} among\n{}", text(spans));
    found[0]
}

#[tokio::test]
async fn an_order_is_one_trace_from_its_unit_of_work_to_its_end() {
    let spans = told(async |stage| {
        stage.place(1, 1, 30).await;
    })
    .await;
    assert_eq!(
        spans.path(made(&spans, "Confirmed")),
        [
            "order: process payments",
            "payment: create payments",
            "payment: process stock",
            "inventory: create stock",
            "inventory: process orders",
            "order: create orders",
            "order: unit of work"
        ]
    );
    let reserving = spans.only("inventory", "process orders");
    assert_eq!((reserving.kind.as_str(), &reserving.error), ("consumer", &None));
    for (name, expected) in [
        ("messaging.system", "kafka"),
        ("messaging.destination.name", "orders"),
        ("messaging.destination.partition.id", "0"),
        ("messaging.kafka.offset", "0"),
        ("messaging.kafka.message.key", "1"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.consumer.group.name", "inventory"),
        ("sagas.attempt", "1"),
        ("sagas.event", "Created"),
        ("sagas.outcome", "done"),
    ] {
        assert_eq!(reserving.attribute(name), expected, "{name}");
    }
    let created = made(&spans, "Created");
    assert_eq!(reserving.attribute("messaging.message.id"), created.attribute("messaging.message.id"));
    for part in ["handle reserve", "commit", "create stock"] {
        let part = spans.only("inventory", part);
        assert_eq!(spans.parent(part).name, "process orders", "{}", part.name);
        assert!(reserving.began <= part.began && part.ended <= reserving.ended, "{}\n{}", part.name, text(&spans));
    }
    // A handler with `Work` has called the other system before its transaction began.
    let call = spans.only("payment", "call pay");
    assert_eq!(spans.path(call)[..2], ["payment: handle pay", "payment: process stock"]);
    // Each record was sent within the span of its event, and the log returned its position.
    for send in spans.0.iter().filter(|span| span.kind == "client") {
        assert_eq!((&send.name[..5], spans.parent(send).kind.as_str()), ("send ", "producer"));
        assert!(!send.attribute("messaging.kafka.offset").is_empty());
    }
    assert_eq!(spans.0.iter().filter(|span| span.kind == "client").count(), 4);
}

#[tokio::test]
async fn a_compensation_goes_on_with_the_trace_of_what_it_undoes() {
    let spans = told(async |stage| {
        stage.place(1, 1, 2_000).await;
    })
    .await;
    assert_eq!(
        spans.path(made(&spans, "Cancelled")),
        [
            "order: process stock",
            "inventory: create stock",
            "inventory: process payments",
            "payment: create payments",
            "payment: process stock",
            "inventory: create stock",
            "inventory: process orders",
            "order: create orders",
            "order: unit of work"
        ]
    );
    let released = made(&spans, "Released");
    assert_eq!(spans.parent(released).attribute("sagas.event"), "Declined");
}

#[tokio::test]
async fn retries_a_dead_letter_and_its_retry_by_an_operator_are_of_the_same_trace() {
    let spans = told(async |stage| {
        stage.shop.conduct.set(Point::Confirm, Act::Fail);
        stage.place(1, 1, 30).await;
        stage.pump.run_until_quiet().await;
        until_attention(stage, 1).await;
        stage.shop.conduct.clear(Point::Confirm);
        stage.sagas().retry(PlaceOrder::NAME, "1", "ann").await.unwrap();
    })
    .await;
    let confirming = spans.of("order", "process payments");
    let attempts: Vec<_> =
        confirming.iter().map(|span| (span.attribute("sagas.attempt"), span.attribute("error.type"))).collect();
    assert_eq!(attempts, [("1", "retry"), ("2", "retry"), ("3", "exhausted"), ("1", "")], "\n{}", text(&spans));
    assert!(confirming.iter().all(|span| spans.parent(span).name == "create payments"));
    assert!(confirming[0].error.as_deref().is_some_and(|error| error.contains("planned at Confirm")));
    // The dead letter's copy is sent within the delivery that gave up; it has the headers of the original record.
    assert_eq!(spans.parent(spans.only("order", "create order.dlt")).span, confirming[2].span);
    assert_eq!(spans.parent(spans.only("order", "send order.dlt")).name, "create payments");
    // Messages of the framework about the saga belong to its trace too.
    assert_eq!(spans.parent(made(&spans, "SagaStepGivenUp")).span, confirming[2].span);
    let retry = spans.only("order", "retry PlaceOrder");
    assert_eq!((spans.parent(retry).name.as_str(), retry.attribute("sagas.by")), ("unit of work", "ann"));
    assert_eq!(spans.parent(made(&spans, "SagaRetryDeadLetter")).span, retry.span);
    assert_eq!(spans.parent(made(&spans, "Confirmed")).span, confirming[3].span);
}

#[tokio::test]
async fn a_deadline_and_what_it_gives_back_are_of_the_trace_that_the_order_began_in() {
    let spans = told(async |stage| {
        stage.shop.conduct.set(Point::Confirm, Act::Fail);
        stage.place(1, 1, 30).await;
        stage.pump.run_until_quiet().await;
        until_attention(stage, 1).await;
        stage.pump.advance(DEADLINE).await;
    })
    .await;
    let deadline = spans.only("order", "deadline PlaceOrder");
    assert_eq!(spans.parent(deadline).name, "unit of work");
    assert_eq!(deadline.attribute("sagas.instance"), "1");
    for given_back in ["Released", "Refunded"] {
        let path = spans.path(made(&spans, given_back));
        let expected = ["order: create orders", "order: deadline PlaceOrder", "order: unit of work"];
        assert_eq!(path[1..], expected, "{given_back}");
    }
}

#[tokio::test]
async fn a_transaction_of_several_messages_links_to_them() {
    let (site, gathered) = (site(), Gathered::default());
    let idle = Service::new("idle", Database::memory());
    let before = Pump::of([idle]).on(site.log.clone()).clock(site.clock.clone()).try_start(&[Created::TOPIC]).await.unwrap();
    for id in 1..=20 {
        before.publish(&Created { id, quantity: 1, amount: 30 }).await;
    }
    before.stop().await;
    let stage = open(&site, gathered.traces()).await;
    stage.pump.run_until_quiet().await;
    stage.pump.stop().await;

    let spans = gathered.spans();
    let deliveries = spans.of("inventory", "process orders");
    assert_eq!((deliveries.len(), spans.of("inventory", "create stock").len()), (20, 20));
    let commits = spans.of("inventory", "commit");
    let of_several: Vec<_> = commits.iter().filter(|commit| !commit.links.is_empty()).collect();
    assert!(!of_several.is_empty(), "\n{}", text(&spans));
    for commit in &of_several {
        assert_eq!(commit.parent, None);
        assert_eq!(commit.attribute("messaging.batch.message_count"), commit.links.len().to_string());
        let linked =
            |(trace, span): &(String, String)| deliveries.iter().any(|known| known.trace == *trace && known.span == *span);
        assert!(commit.links.iter().all(linked), "{commit:?}");
    }
    let linked: usize = of_several.iter().map(|commit| commit.links.len()).sum();
    assert_eq!(linked + commits.len() - of_several.len(), 20, "each message is of one commit");
}

#[tokio::test]
async fn a_trace_is_told_as_its_beginning_decides() {
    let (site, gathered) = (site(), Gathered::default());
    let stage = open(&site, gathered.traces().ratio(0.0)).await;
    let order = stage.pump.service("order");
    stage.place(1, 1, 30).await;
    let ids = order.ids().clone();
    let caller = |sampled| TraceContext::root(&ids).with_sampled(sampled);
    let (told, untold) = (caller(true), caller(false));
    for (id, caller) in [(2, &told), (3, &untold)] {
        let mut work = order.begin().await.unwrap();
        work.trace(caller.clone());
        work.publish(&Created { id, quantity: 1, amount: 30 }).unwrap();
        work.commit().await.unwrap();
    }
    stage.pump.run_until_quiet().await;
    for topic in ["orders", "stock", "payments"] {
        for received in stage.pump.records(topic).await {
            let traceparent = received.record.header("traceparent").unwrap().to_owned();
            let flags = if received.record.key.as_deref() == Some(b"2") { "01" } else { "00" };
            assert!(traceparent.ends_with(flags), "{topic}: {traceparent}");
        }
    }
    stage.pump.stop().await;
    let spans = gathered.spans();
    assert_eq!(spans.traces().into_iter().collect::<Vec<_>>(), [format!("{:032x}", told.trace_id())]);
    let parent = format!("{:016x}", told.span_id());
    assert_eq!(spans.only("order", "unit of work").parent.as_deref(), Some(parent.as_str()));
}

/// A collector whose behaviour a test sets.
#[derive(Debug, Clone)]
struct Collector(Arc<tokio::sync::watch::Sender<Conduct>>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Conduct {
    Takes,
    Refuses,
    Hangs,
}

impl SpanExporter for Collector {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        let conduct = *self.0.borrow();
        match conduct {
            Conduct::Takes => Ok(()),
            Conduct::Refuses => Err(OTelSdkError::InternalFailure("connection refused".to_owned())),
            Conduct::Hangs => {
                let _ = self.0.subscribe().wait_for(|conduct| *conduct != Conduct::Hangs).await;
                Ok(())
            }
        }
    }
}

fn collector(conduct: Conduct) -> (Arc<tokio::sync::watch::Sender<Conduct>>, Traces) {
    let told = Arc::new(tokio::sync::watch::Sender::new(conduct));
    let collector = Collector(told.clone());
    (told, Traces::to(move || collector.clone()).every(Duration::from_millis(20)))
}

const DROPPED: &str = "sagas_spans_dropped_total";
const EXPORTED: &str = "sagas_spans_exported_total";

#[tokio::test(flavor = "multi_thread")]
async fn orders_do_not_wait_for_a_collector_that_hangs() {
    let (_collector, traces) = collector(Conduct::Hangs);
    let stage = open(&site(), traces.queue(16)).await;
    for id in 1..=20 {
        stage.place(id, 1, 30).await;
    }
    stage.pump.run_until_quiet().await;
    (1..=20).for_each(|id| stage.books().check_ended(id));
    let inventory = stage.pump.service("inventory").clone();
    assert!(metric(&inventory, DROPPED, r#"reason="queue_full""#) > 0.0);
    assert_eq!(metric(&inventory, EXPORTED, ""), 0.0);
    let stopping = tokio::time::Instant::now();
    stage.pump.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(6), "{:?}", stopping.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_a_condition_until_it_is_back() {
    let (collector, traces) = collector(Conduct::Refuses);
    let stage = open(&site(), traces).await;
    stage.place(1, 1, 30).await;
    let order = stage.pump.service("order").clone();
    let away = || metric(&order, "sagas_conditions", r#"condition="traces_not_taken""#);
    until("the condition is there", async || away() == 1.0).await;
    assert!(metric(&order, DROPPED, r#"reason="export_failed""#) > 0.0);
    stage.pump.run_until_quiet().await;
    stage.books().check_ended(1);
    collector.send_replace(Conduct::Takes);
    stage.place(2, 1, 30).await;
    until("the condition is over", async || away() == 0.0).await;
    until("spans are taken", async || metric(&order, EXPORTED, "") > 0.0).await;
    assert_eq!(stage.cancel(2).await, Aborting::TooLate);
    stage.pump.stop().await;
}

#[tokio::test]
async fn without_traces_nothing_is_told_and_no_series_is_there() {
    let site = site();
    let stage = open_with(&site, site.services().map(|service| service.settings(settings())), Traces::off()).await;
    stage.place(1, 1, 30).await;
    stage.pump.run_until_quiet().await;
    assert!(!stage.pump.service("order").metrics().render().contains("sagas_spans"));
    for received in stage.pump.records("stock").await {
        assert!(received.record.header("traceparent").is_some_and(|parent| parent.ends_with("-00")));
    }
    stage.pump.stop().await;
}
