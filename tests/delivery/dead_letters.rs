//! Dead letters: where a message goes after its last attempt, what that transaction contains, and how it is retried.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sagas::{
    Settings,
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterState},
    handler::Handler,
    message::{Header, headers},
    prelude::*,
    testing::Pump,
};

use crate::support::*;

/// Fails number 0 while `broken` is set.
fn broken() -> (Arc<AtomicBool>, Plan) {
    let broken = Arc::new(AtomicBool::new(true));
    let it = broken.clone();
    let plan = Plan::new(move |placed, _| if placed.number == 0 && it.load(Ordering::SeqCst) { Step::Retry } else { Step::Done });
    (broken, plan)
}

async fn given_up(database: &Database, plan: &Plan, handlers: impl IntoIterator<Item = Handler>) -> Pump {
    let pump = Pump::of([service(database, plan).handlers(handlers)]).start().await;
    for number in 0..3 {
        pump.publish(&placed("a", number)).await;
    }
    pump.run_until_quiet().await;
    for _ in 0..3 {
        pump.advance(Duration::from_secs(4)).await;
    }
    pump
}

async fn letters(pump: &Pump) -> Vec<DeadLetter> {
    pump.service("payments").dead_letters(0, 10).await.unwrap().0
}

#[tokio::test]
async fn it_is_kept_in_the_database_and_on_the_dead_letter_topic() {
    for database in databases().await {
        let (_, plan) = broken();
        let pump = given_up(&database, &plan, handlers![bare]).await;
        assert_eq!(plan.numbers("a"), [0, 0, 0, 1, 2]);
        let [letter] = &letters(&pump).await[..] else { panic!("one letter") };
        assert_eq!((letter.attempts, letter.state, letter.event_type.as_deref()), (3, DeadLetterState::Open, Some("Placed")));
        assert!(letter.error.contains("planned"), "{}", letter.error);

        let original = &pump.records("orders").await[0];
        let mut kept = letter.received.clone();
        let whose = Arc::make_mut(&mut kept.record).headers.pop().unwrap();
        assert_eq!((kept, whose), (original.clone(), Header::text(headers::HANDLER, "bare")), "as it came, and whose it is");
        let sent = &pump.records("payments.dlt").await[0].record;
        assert_eq!((&sent.key, &sent.value), (&original.record.key, &original.record.value));
        let count = original.record.headers.len();
        assert_eq!(sent.headers[..count], original.record.headers[..], "the original headers come first, untouched");
        let bytes = |name: &str| {
            let header = sent.headers.iter().find(|header| header.name == name);
            header.unwrap().value.as_deref().unwrap().to_vec()
        };
        assert_eq!(bytes(headers::DLT_TOPIC), b"orders");
        assert_eq!(bytes(headers::DLT_PARTITION), original.partition.to_be_bytes());
        assert_eq!(bytes(headers::DLT_OFFSET), original.offset.to_be_bytes());
        assert_eq!(bytes(headers::DLT_TIMESTAMP), original.record.timestamp.as_millis().to_be_bytes());
        assert_eq!(bytes(headers::DLT_GROUP), b"payments");
        assert_eq!(bytes(headers::DLT_EXCEPTION), b"exhausted");
        assert!(String::from_utf8(bytes(headers::DLT_MESSAGE)).unwrap().contains("planned"));
    }
}

#[tokio::test]
async fn never_is_given_up_at_once() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let handlers = handlers.clone();
            let plan = Plan::new(|placed, _| if placed.number == 0 { Step::Dead } else { Step::Done });
            let pump = Pump::of([service(&database, &plan).handlers(handlers)]).start().await;
            for number in 0..2 {
                pump.publish(&placed("a", number)).await;
            }
            pump.run_until_quiet().await;
            assert_eq!(plan.numbers("a"), [0, 1]);
            assert_eq!(letters(&pump).await.iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [1]);
        }
    }
}

#[tokio::test]
async fn a_retry_runs_the_handler_again_with_its_attempts_anew() {
    for database in databases().await {
        let (broken, plan) = broken();
        let pump = given_up(&database, &plan, handlers![bare]).await;
        let service = pump.service("payments");
        let id = letters(&pump).await[0].id.clone();
        broken.store(false, Ordering::SeqCst);
        assert!(service.retry_dead_letter(&id).await.unwrap());
        pump.run_until_quiet().await;
        assert_eq!(plan.calls().last(), Some(&("a".to_owned(), 0, 1)));
        assert_eq!(pump.published::<Charged>().await.len(), 3);
        assert!(letters(&pump).await.is_empty());
        assert_eq!(service.dead_letter(&id).await.unwrap().unwrap().state, DeadLetterState::Retried);
        assert!(!service.retry_dead_letter(&id).await.unwrap(), "a second time");
        assert!(!service.discard_dead_letter(&id).await.unwrap(), "it is settled");
    }
}

#[tokio::test]
async fn a_retry_that_fails_again_is_a_letter_again() {
    for database in databases().await {
        let (_, plan) = broken();
        let pump = given_up(&database, &plan, handlers![bare]).await;
        let id = letters(&pump).await[0].id.clone();
        assert!(pump.service("payments").retry_dead_letter(&id).await.unwrap());
        settle(&pump, &["payments"]).await;
        assert_eq!(plan.numbers("a"), [0, 0, 0, 1, 2, 0, 0, 0]);
        let again = letters(&pump).await;
        assert_eq!((again.len(), again[0].attempts), (1, 3));
        assert_ne!(again[0].id, id);
    }
}

#[tokio::test]
async fn a_discarded_letter_is_gone() {
    for database in databases().await {
        let (_, plan) = broken();
        let pump = given_up(&database, &plan, handlers![bare]).await;
        let (service, id) = (pump.service("payments"), letters(&pump).await[0].id.clone());
        assert!(service.discard_dead_letter(&id).await.unwrap());
        assert!(!service.discard_dead_letter(&id).await.unwrap(), "a second time");
        assert!(!service.retry_dead_letter(&id).await.unwrap(), "it is settled");
        assert!(letters(&pump).await.is_empty());
        assert!(!service.discard_dead_letter(&sagas::id::MessageId::new("no such letter")).await.unwrap());
    }
}

#[handler(retry(max = 2, backoff = "1s..1s"), on_dead = "hold")]
async fn holding(On(placed): On<Placed>, meta: Meta, State(plan): State<Plan>) -> Result<Charged, Failure> {
    match plan.step(&placed, &meta) {
        Step::Done => Ok(Charged { order_id: placed.order_id, number: placed.number }),
        _ => Err(Failure::retry("planned")),
    }
}

#[tokio::test]
async fn a_held_key_waits_for_the_retry() {
    for database in databases().await {
        let (broken, plan) = broken();
        let pump = given_up(&database, &plan, handlers![holding]).await;
        pump.publish(&placed("b", 9)).await;
        pump.advance(Duration::from_secs(1_000_000)).await;
        assert_eq!((plan.numbers("a"), plan.numbers("b")), (vec![0, 0], vec![9]), "the key waits, others go on");
        broken.store(false, Ordering::SeqCst);
        let id = letters(&pump).await[0].id.clone();
        let (summaries, _) = pump.service("payments").find_dead_letters(&DeadLetterFilter::open(), 0, 9).await.unwrap();
        let holding = pump.service("payments").holding_letters(&summaries).await.unwrap();
        assert_eq!((holding.len(), holding.contains(&id)), (1, true));
        assert!(pump.service("payments").retry_dead_letter(&id).await.unwrap());
        pump.run_until_quiet().await;
        assert_eq!(plan.numbers("a"), [0, 0, 0, 1, 2]);
        assert!(database.store().parked_keys("payments").await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_held_key_goes_on_when_the_letter_is_discarded_even_after_a_restart() {
    for database in databases().await {
        let (_, plan) = broken();
        let clock = clock();
        let log = Arc::new(sagas::transport::memory::Memory::with_clock(clock.clone()));
        let start = || {
            let service = service(&database, &plan).handlers(handlers![holding]);
            Pump::of([service]).on(log.clone()).clock(clock.clone()).start()
        };
        let pump = start().await;
        for number in 0..3 {
            pump.publish(&placed("a", number)).await;
        }
        pump.run_until_quiet().await;
        pump.advance(Duration::from_secs(1)).await;
        drop(pump);
        let pump = start().await;
        pump.run_until_quiet().await;
        assert_eq!(plan.numbers("a"), [0, 0]);
        let id = letters(&pump).await[0].id.clone();
        assert!(pump.service("payments").discard_dead_letter(&id).await.unwrap());
        pump.run_until_quiet().await;
        assert_eq!(plan.numbers("a"), [0, 0, 1, 2]);
    }
}

#[handler(retry(max = 2, backoff = "1s..1s"), exhausted = give_up)]
async fn bounded(On(placed): On<Placed>, mut tx: Tx, meta: Meta, State(plan): State<Plan>) -> Result<Charged, Failure> {
    plan.write(&mut tx, &placed).await?;
    match plan.step(&placed, &meta) {
        Step::Done => Ok(Charged { order_id: placed.order_id, number: placed.number }),
        _ => Err(Failure::retry("planned")),
    }
}

#[derive(Clone, Default)]
struct LastWords(Arc<AtomicBool>);

/// Writes a row, and fails while the test requires it.
async fn give_up(
    On(placed): On<Placed>,
    mut tx: Tx,
    meta: Meta,
    State(plan): State<Plan>,
    State(fails): State<LastWords>,
) -> Result<Declined, Failure> {
    plan.write(&mut tx, &Placed { number: 500, ..placed.clone() }).await?;
    assert!(meta.last_error.as_deref().unwrap().contains("planned"));
    if fails.0.load(Ordering::SeqCst) {
        return Err(Failure::retry("not yet"));
    }
    Ok(Declined { order_id: placed.order_id, number: 500 })
}

#[tokio::test]
async fn last_words_commit_with_the_letter() {
    let (database, (_, plan)) = (sqlite().await, broken());
    let plan = plan.rows();
    let pump = Pump::of([service(&database, &plan).state(LastWords::default()).handlers(handlers![bounded])]).start().await;
    for number in 0..2 {
        pump.publish(&placed("a", number)).await;
    }
    pump.run_until_quiet().await;
    pump.advance(Duration::from_secs(1)).await;
    assert_eq!(rows(&database).await, [("a".to_owned(), 1), ("a".to_owned(), 500)]);
    assert_eq!(pump.published::<Declined>().await.len(), 1);
    assert_eq!(letters(&pump).await.len(), 1);
}

#[tokio::test]
async fn a_message_is_not_given_up_before_its_last_words() {
    let (database, (_, plan), fails) = (sqlite().await, broken(), LastWords::default());
    fails.0.store(true, Ordering::SeqCst);
    let plan = plan.rows();
    let pump = Pump::of([service(&database, &plan).state(fails.clone()).handlers(handlers![bounded])]).start().await;
    for number in 0..2 {
        pump.publish(&placed("a", number)).await;
    }
    pump.run_until_quiet().await;
    for _ in 0..5 {
        pump.advance(Duration::from_secs(1)).await;
    }
    assert!(rows(&database).await.is_empty(), "what the fn wrote is undone, and the key waits");
    assert!(letters(&pump).await.is_empty());
    fails.0.store(false, Ordering::SeqCst);
    pump.advance(Duration::from_secs(1)).await;
    assert_eq!(rows(&database).await, [("a".to_owned(), 1), ("a".to_owned(), 500)]);
    assert_eq!(letters(&pump).await.len(), 1);
}

#[handler(retry(max = 1, backoff = "1s..1s"), exhausted = run_away)]
async fn fleeing(On(placed): On<Placed>, meta: Meta, State(plan): State<Plan>) -> Result<Charged, Failure> {
    match plan.step(&placed, &meta) {
        Step::Done => Ok(Charged { order_id: placed.order_id, number: placed.number }),
        _ => Err(Failure::retry("planned")),
    }
}

async fn run_away(On(_): On<Placed>, tx: Tx) {
    tokio::spawn(async move {
        tokio::task::yield_now().await;
        drop(tx);
    });
}

#[tokio::test]
async fn last_words_that_keep_the_transaction_stop_nobody_else() {
    for database in databases().await {
        let (_, plan) = broken();
        let pump = Pump::of([service(&database, &plan).handlers(handlers![fleeing])]).start().await;
        for (order, number) in [("a", 0), ("b", 1)] {
            pump.publish(&placed(order, number)).await;
        }
        pump.run_until_quiet().await;
        assert_eq!(pump.published::<Charged>().await.len(), 1);
        let parked = database.store().parked("payments", "orders", b"a", 1).await.unwrap();
        assert!(parked[0].error.contains("still in use"), "{}", parked[0].error);
    }
}

/// Gives up every message.
fn hopeless() -> Plan {
    Plan::new(|_, _| Step::Dead)
}

#[tokio::test]
async fn many_are_given_back_in_the_order_of_their_offsets_and_each_once() {
    for database in databases().await {
        let plan = hopeless();
        let pump = Pump::of([service(&database, &plan).handlers(handlers![bare])]).start().await;
        for number in 0..500 {
            pump.publish(&placed(&format!("o{}", number % 3), number)).await;
        }
        pump.run_until_quiet().await;
        let (service, all) = (pump.service("payments"), DeadLetterFilter::default());
        let some = service.retry_dead_letters(&all, 90).await.unwrap();
        assert_eq!((some.settled, some.left), (90, 410));
        pump.run_until_quiet().await;
        // Messages that have failed again have open dead letters again, which are left to the next call.
        let again = service.retry_dead_letters(&all, 10_000).await.unwrap();
        assert_eq!(again.settled, 500);
        pump.run_until_quiet().await;
        let calls = plan.calls().len();
        assert_eq!(calls, 500 + 90 + 500);
        for key in 0..3 {
            let numbers = plan.numbers(&format!("o{key}"));
            let last: Vec<_> = numbers[numbers.len() - 166..].to_vec();
            assert!(last.is_sorted(), "the order of a key: {last:?}");
        }
        let some = DeadLetterFilter { key: Some("o1".into()), ..DeadLetterFilter::default() };
        let done = service.discard_dead_letters(&some, 10_000).await.unwrap();
        assert_eq!((done.settled, done.left), (167, 0));
        assert_eq!(service.dead_letters(0, 0).await.unwrap().1, 333);
        pump.stop().await;
    }
}

#[tokio::test]
async fn held_keys_go_on_when_many_are_settled() {
    for retry in [true, false] {
        for database in databases().await {
            let (broken, plan) = broken();
            let pump = Pump::of([service(&database, &plan).handlers(handlers![holding])]).start().await;
            for key in ["a", "b", "c"] {
                for number in 0..3 {
                    pump.publish(&placed(key, number)).await;
                }
            }
            pump.run_until_quiet().await;
            pump.advance(Duration::from_secs(1)).await;
            assert_eq!(plan.calls().len(), 6, "two attempts for each key");
            broken.store(false, Ordering::SeqCst);
            let (service, all) = (pump.service("payments"), DeadLetterFilter::default());
            let done =
                if retry { service.retry_dead_letters(&all, 10).await } else { service.discard_dead_letters(&all, 10).await };
            assert_eq!(done.unwrap().settled, 3);
            pump.run_until_quiet().await;
            let rest: &[u32] = if retry { &[0, 1, 2] } else { &[1, 2] };
            for key in ["a", "b", "c"] {
                assert_eq!(plan.numbers(key)[2..], *rest, "{key}");
            }
            assert!(database.store().parked_keys("payments").await.unwrap().is_empty());
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn letters_expire_by_their_retention_and_settled_ones_sooner() {
    const DAY: Duration = Duration::from_secs(86_400);
    for database in databases().await {
        let plan = hopeless();
        let mut settings = Settings::default();
        (settings.dead_letter_retention_days, settings.settled_letter_retention_days) = (30, 5);
        let payments = service(&database, &plan).settings(settings).handlers(handlers![holding_some]);
        let pump = Pump::of([payments]).start().await;
        for key in ["a", "b"] {
            // A record that is not such an event does not hold its key.
            pump.publish_record(record(Some(key.as_bytes()), Some(b"nonsense"), &[])).await;
        }
        pump.publish(&placed("held", 2)).await;
        pump.run_until_quiet().await;
        let service = pump.service("payments");
        let of_key = |key: &'static str| DeadLetterFilter { key: Some(key.into()), ..DeadLetterFilter::default() };
        let there = async |key| service.find_dead_letters(&of_key(key), 0, 0).await.unwrap().1;
        service.discard_dead_letters(&of_key("a"), 1).await.unwrap();
        // Expired dead letters are looked for every ten minutes.
        pump.advance(4 * DAY).await;
        assert_eq!((there("a").await, there("b").await), (1, 1));
        pump.advance(DAY).await;
        // A round may be under way when the time comes; then the next round finds it.
        let gone = async |key| {
            pump.advance(Duration::from_secs(601)).await;
            there(key).await == 0
        };
        until("the settled one is forgotten", || gone("a")).await;
        assert_eq!((there("b").await, there("held").await), (1, 1));
        for _ in 0..26 {
            pump.advance(DAY).await;
        }
        until("the open one is forgotten", || gone("b")).await;
        assert_eq!(there("held").await, 1, "it holds its key");
        // The counter is incremented after the rows are removed.
        let counted = || metric(service, "sagas_dead_letters_settled_total", "how=\"expired\"");
        until("the expired one is counted", || async { counted() == 1.0 }).await;
        // The gauge may be wrong while rows are removed; the next count corrects it.
        let open = async || {
            pump.advance(Duration::from_secs(601)).await;
            metric(service, "sagas_dead_letters_open", "") == 1.0
        };
        until("one is open", open).await;

        let mut settings = Settings::default();
        settings.dead_letter_retention_days = 0;
        assert_eq!(settings.dead_letter_retention(), None, "for ever");
        pump.stop().await;
    }
}

#[handler(on_dead = "hold")]
async fn holding_some(On(placed): On<Placed>, State(plan): State<Plan>, meta: Meta) -> Result<(), Failure> {
    plan.note(&placed, &meta);
    Err(Failure::dead("planned"))
}
