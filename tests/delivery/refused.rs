//! Records that the log rejects: a dead letter does not cause another dead letter, and a topic that rejects records is reported.

use std::{sync::Arc, time::Duration};

use sagas::{
    dead_letter::DeadLetter,
    health::Status,
    message::headers,
    prelude::*,
    testing::{
        Pump,
        faulty::{Faults, Faulty, Refusal},
    },
    transport::memory::Memory,
};

use crate::support::*;

fn log(clock: &sagas::time::Clock) -> Arc<Faulty> {
    Arc::new(Faulty::new(Arc::new(Memory::with_clock(clock.clone())), Faults::default(), 7, clock.clone()))
}

async fn letters(pump: &Pump) -> Vec<DeadLetter> {
    let (letters, total) = pump.service("payments").dead_letters(0, 10).await.unwrap();
    assert_eq!(letters.len() as u64, total);
    letters
}

#[tokio::test]
async fn a_dead_letter_whose_copy_the_topic_does_not_take_stays_one_letter() {
    for database in databases().await {
        let (clock, plan) = (clock(), Plan::new(|_, _| Step::Dead));
        let log = log(&clock);
        // The event fits, but the dead letter with its additional headers does not.
        log.refuse("payments.dlt", Refusal::LargerThan(600));
        let service = service(&database, &plan).handlers(handlers![bare]);
        let pump = Pump::of([service]).on(log.clone()).clock(clock).start().await;
        pump.publish(&placed("a", 0)).await;
        pump.run_until_quiet().await;
        let [letter] = &letters(&pump).await[..] else { panic!("one letter") };
        assert!(letter.received.partition >= 0, "it is the message, not its copy");
        let why = letter.unpublished.as_deref().unwrap_or_default();
        assert!(why.contains("`payments.dlt` has no copy of it") && why.contains("the topic takes 600"), "{letter:?}");
        assert_eq!(letter.received.record.value, pump.records("orders").await[0].record.value, "it is kept whole");

        for _ in 0..3 {
            let letter = letters(&pump).await.remove(0);
            assert!(pump.service("payments").retry_dead_letter(&letter.id).await.unwrap());
            pump.run_until_quiet().await;
            let [again] = &letters(&pump).await[..] else { panic!("one letter") };
            assert!(again.unpublished.is_some(), "{again:?}");
        }
        assert!(pump.records("payments.dlt").await.is_empty());
        assert_eq!(database.store().outbox("payments", 0, 10).await.unwrap(), []);

        // The next one is in the topic again, as the dead letter shows.
        log.take("payments.dlt");
        let letter = letters(&pump).await.remove(0);
        assert!(pump.service("payments").retry_dead_letter(&letter.id).await.unwrap());
        pump.run_until_quiet().await;
        let [last] = &letters(&pump).await[..] else { panic!("one letter") };
        assert_eq!(last.unpublished, None);
        assert_eq!(pump.records("payments.dlt").await[0].record.header(headers::DLT_LETTER), Some(last.id.as_str()));
        pump.stop().await;
    }
}

#[handler(retry(max = 3, backoff = "1s..4s"), on_dead = "hold")]
async fn holding(On(placed): On<Placed>, _tx: Tx, meta: Meta, State(plan): State<Plan>) -> Result<(), Failure> {
    match plan.step(&placed, &meta) {
        Step::Dead => Err(Failure::dead("planned")),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn a_held_key_goes_on_though_the_copy_of_its_letter_was_refused() {
    for database in databases().await {
        let (clock, plan) = (clock(), Plan::new(|placed, _| if placed.number == 0 { Step::Dead } else { Step::Done }));
        let log = log(&clock);
        log.refuse("payments.dlt", Refusal::LargerThan(0));
        let service = service(&database, &plan).handlers(handlers![holding]);
        let pump = Pump::of([service]).on(log.clone()).clock(clock).start().await;
        pump.publish(&placed("a", 0)).await;
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        let [letter] = &letters(&pump).await[..] else { panic!("one letter") };
        assert!(letter.unpublished.is_some(), "{letter:?}");
        assert_eq!(plan.numbers("a"), [0], "the key is held");
        assert!(pump.service("payments").discard_dead_letter(&letter.id).await.unwrap());
        pump.run_until_quiet().await;
        assert_eq!((plan.numbers("a"), letters(&pump).await), (vec![0, 1], vec![]));
        pump.stop().await;
    }
}

#[tokio::test]
async fn an_event_that_the_topic_does_not_take_is_one_letter_however_often_it_is_sent_again() {
    for database in databases().await {
        let clock = clock();
        let log = log(&clock);
        log.refuse("orders", Refusal::LargerThan(0));
        let service = Service::new("payments", database.clone());
        let pump = Pump::of([service]).on(log.clone()).clock(clock).try_start(&["orders", "payments"]).await.unwrap();
        let mut work = pump.service("payments").begin().await.unwrap();
        work.publish(&placed("a", 1)).unwrap();
        work.commit().await.unwrap();
        pump.run_until_quiet().await;
        for _ in 0..3 {
            let [letter] = &letters(&pump).await[..] else { panic!("one letter") };
            assert!(letter.error.contains("the log refused it"), "{letter:?}");
            assert!(pump.service("payments").retry_dead_letter(&letter.id).await.unwrap());
            pump.run_until_quiet().await;
        }
        log.take("orders");
        let letter = letters(&pump).await.remove(0);
        assert!(pump.service("payments").retry_dead_letter(&letter.id).await.unwrap());
        pump.run_until_quiet().await;
        assert_eq!((letters(&pump).await.len(), pump.published::<Placed>().await), (0, vec![placed("a", 1)]));
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_topic_that_takes_nothing_is_a_condition_by_name_until_it_takes_records() {
    for refusal in [Refusal::Unavailable("the user may not write".to_owned()), Refusal::Unknown] {
        let clock = clock();
        let log = log(&clock);
        log.refuse("orders", refusal.clone());
        let service = Service::new("payments", Database::memory());
        let pump = Pump::of([service]).on(log.clone()).clock(clock.clone()).try_start(&["orders", "payments"]).await.unwrap();
        let mut work = pump.service("payments").begin().await.unwrap();
        work.publish(&placed("a", 1)).unwrap();
        work.commit().await.unwrap();
        let health = pump.service("payments").health().clone();
        advance_until(&clock, "the condition", async || health.ready().await.status == Status::Down).await;
        let said = health.report().await.checks["conditions"].detail.clone().unwrap_or_default();
        let cause = if refusal == Refusal::Unknown { "there is no topic `orders`" } else { "the user may not write" };
        assert!(said.contains("the topic `orders` stores no records") && said.contains(cause), "{said}");

        log.take("orders");
        advance_until(&clock, "its end", async || health.ready().await.status == Status::Up).await;
        assert_eq!(pump.published::<Placed>().await, [placed("a", 1)]);
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_log_that_is_away_is_no_condition_of_a_topic() {
    let clock = clock();
    let log = log(&clock);
    let service = Service::new("payments", Database::memory());
    let pump = Pump::of([service]).on(log.clone()).clock(clock.clone()).try_start(&["orders", "payments"]).await.unwrap();
    // Publishing fails now and then, as while brokers change.
    log.set(Faults { fail_publish: 0.7, ..Faults::default() });
    for number in 0..20 {
        let mut work = pump.service("payments").begin().await.unwrap();
        work.publish(&placed("a", number)).unwrap();
        work.commit().await.unwrap();
        clock.advance(Duration::from_millis(100));
        let status = pump.service("payments").health().report().await.checks["conditions"].status;
        assert_eq!(status, Status::Up);
    }
    log.set(Faults::default());
    settle(&pump, &["payments"]).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_row_of_the_outbox_that_cannot_be_read_is_a_dead_letter_and_the_others_leave() {
    let (clock, plan, folder) = (clock(), Plan::done(), tempfile::tempdir().unwrap());
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let file = format!("sqlite://{}", folder.path().join("payments.db").display());
    let open = async || Database::open(&file).await.unwrap();
    let start = async || {
        let database = open().await;
        let payments = service(&database, &plan).handlers(handlers![bare]);
        Pump::of([payments]).on(log.clone()).clock(clock.clone()).start().await
    };
    let pump = start().await;
    let mut work = pump.service("payments").begin().await.unwrap();
    // The headers of the first row are invalid, the second has none. Both have the same key.
    let rows = "INSERT INTO sagas_outbox (service, topic, key, value, headers, timestamp) VALUES \
                ('payments', 'payments', CAST('a' AS BLOB), CAST('1' AS BLOB), CAST('no' AS BLOB), 0), \
                ('payments', 'payments', CAST('a' AS BLOB), CAST('2' AS BLOB), X'0100', 0)";
    sqlx::query::<sqlx::Any>(rows).execute(&mut *work).await.unwrap();
    work.commit().await.unwrap();
    pump.stop().await;

    let pump = start().await;
    pump.run_until_quiet().await;
    let sent: Vec<_> = pump.records("payments").await.iter().map(|received| received.record.value.clone()).collect();
    assert_eq!(sent, [Some("2".into())]);
    let [letter] = &letters(&pump).await[..] else { panic!("one letter") };
    assert!(letter.error.contains("of the outbox cannot be published: ") && letter.error.contains("headers"), "{letter:?}");
    let record = &letter.received.record;
    assert_eq!((record.value.as_deref(), record.header(headers::UNREADABLE)), (Some(&b"1"[..]), Some("no")));
    assert_eq!(open().await.store().outbox("payments", 0, 10).await.unwrap(), []);
    pump.stop().await;
}
