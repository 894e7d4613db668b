//! A failed message is tried again later, and its key waits for it.

use std::time::Duration;

use sagas::{Settings, prelude::*, testing::Pump};

use crate::support::*;

fn fails_first(times: u32) -> Plan {
    Plan::new(move |placed, meta| if placed.number == 0 && meta.attempt <= times { Step::Retry } else { Step::Done })
}

#[tokio::test]
async fn the_key_waits_and_others_go_on() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let (handlers, plan) = (handlers.clone(), fails_first(2));
            let name = handlers[0].options().name;
            let service = Service::new(name, database.clone()).state(plan.clone()).handlers(handlers);
            let pump = Pump::of([service]).start().await;
            for number in 0..5 {
                pump.publish(&placed("a", number)).await;
                pump.publish(&placed("b", number + 1)).await;
            }
            pump.run_until_quiet().await;
            assert_eq!((plan.numbers("a"), plan.numbers("b")), (vec![0], vec![1, 2, 3, 4, 5]), "{name}");
            // The waits are between 0.5 s and 1 s, then between 1 s and 2 s.
            pump.advance(Duration::from_millis(499)).await;
            assert_eq!(plan.numbers("a"), [0], "{name}");
            pump.advance(Duration::from_millis(501)).await;
            assert_eq!(plan.numbers("a"), [0, 0], "{name}");
            pump.advance(Duration::from_secs(2)).await;
            assert_eq!(plan.numbers("a"), [0, 0, 0, 1, 2, 3, 4], "{name}");
            let attempts: Vec<_> = plan.calls().into_iter().filter(|(o, n, _)| o == "a" && *n == 0).map(|(.., at)| at).collect();
            assert_eq!(attempts, [1, 2, 3], "{name}");
            let numbers: Vec<_> = pump.published::<Charged>().await.into_iter().filter(|c| c.order_id == "a").collect();
            assert_eq!(numbers.iter().map(|charged| charged.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4], "{name}");
            assert!(database.store().parked_keys(name).await.unwrap().is_empty());
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn messages_that_wait_stay_in_order_when_a_later_one_fails_too() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let handlers = handlers.clone();
            let plan =
                Plan::new(|placed, meta| if placed.number % 3 == 0 && meta.attempt < 3 { Step::Retry } else { Step::Done });
            let pump = Pump::of([service(&database, &plan).handlers(handlers)]).start().await;
            for number in 0..30 {
                pump.publish(&placed("a", number)).await;
            }
            settle(&pump, &["payments"]).await;
            let mut numbers = plan.numbers("a");
            assert_eq!(numbers.len(), 30 + 10 * 2, "each attempt once: {numbers:?}");
            numbers.dedup();
            assert_eq!(numbers, (0..30).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_long_queue_is_worked_off_in_small_transactions() {
    let mut settings = Settings::default();
    settings.batch_messages = 7;
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let (handlers, plan) = (handlers.clone(), fails_first(1));
            let name = handlers[0].options().name;
            let service = Service::new(name, database.clone()).state(plan.clone()).handlers(handlers).settings(settings.clone());
            let pump = Pump::of([service]).start().await;
            for number in 0..150 {
                pump.publish(&placed("a", number)).await;
            }
            pump.run_until_quiet().await;
            pump.advance(Duration::from_secs(1)).await;
            let expected: Vec<_> = std::iter::once(0).chain(0..150).collect();
            assert_eq!(plan.numbers("a"), expected, "{name}");
            assert!(database.store().parked_keys(name).await.unwrap().is_empty(), "{name}");
        }
    }
}

#[tokio::test]
async fn not_now_counts_as_no_attempt() {
    for database in databases().await {
        let plan = Plan::new(|_, meta| if meta.now < clock().now().after(Duration::from_secs(100)) { LATER } else { Step::Done });
        let pump = Pump::of([service(&database, &plan).handlers(handlers![bare])]).start().await;
        pump.publish(&placed("a", 0)).await;
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        for _ in 0..10 {
            pump.advance(Duration::from_secs(10)).await;
        }
        let calls = plan.calls();
        assert_eq!(calls.iter().map(|(_, number, _)| *number).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(calls.iter().all(|(.., attempt)| *attempt == 1), "{calls:?}");
    }
}

const LATER: Step = Step::Later(Duration::from_secs(10));

#[handler(retry(max = 3, backoff = "1s..4s"))]
async fn refund(On(charged): On<Charged>, State(plan): State<Plan>, meta: Meta) -> Result<(), Failure> {
    let asked = Placed { order_id: charged.order_id, number: charged.number + 100 };
    plan.note(&asked, &meta);
    Ok(())
}

#[tokio::test]
async fn a_key_is_parked_per_topic() {
    for database in databases().await {
        let plan = fails_first(1);
        let pump = Pump::of([service(&database, &plan).handlers(handlers![bare, refund])]).start().await;
        pump.publish(&placed("a", 0)).await;
        pump.run_until_quiet().await;
        pump.publish(&Charged { order_id: "a".to_owned(), number: 7 }).await;
        pump.run_until_quiet().await;
        assert_eq!(plan.numbers("a"), [0, 107]);
        pump.advance(Duration::from_secs(1)).await;
        assert_eq!(plan.numbers("a"), [0, 107, 0, 100]);
    }
}

#[tokio::test]
async fn messages_without_a_key_wait_for_nobody() {
    for database in databases().await {
        let plan = fails_first(1);
        let pump = Pump::of([service(&database, &plan).handlers(handlers![bare])]).start().await;
        for number in 0..4 {
            let value = format!(r#"{{"order_id":"a","number":{number}}}"#);
            pump.publish_record(record(None, Some(value.as_bytes()), &[])).await;
        }
        pump.run_until_quiet().await;
        let mut first = plan.numbers("a");
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3]);
        pump.advance(Duration::from_secs(1)).await;
        assert_eq!(plan.numbers("a").last(), Some(&0));
        assert_eq!(pump.published::<Charged>().await.len(), 4);
    }
}
