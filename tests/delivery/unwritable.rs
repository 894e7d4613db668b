//! An event that its codec cannot write is a technical error of the handler, however the handler publishes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sagas::{
    Fault,
    handler::Handler,
    message::{Decode, Encode},
    prelude::*,
    testing::Pump,
};

use crate::support::*;

/// The codec can write it only from attempt 3 on.
#[event(topic = "payments", key = order_id, codec = FromTheThird)]
#[derive(Debug)]
struct Sealed {
    order_id: String,
    attempt: u32,
}

struct FromTheThird;

impl Encode<Sealed> for FromTheThird {
    const CONTENT_TYPE: &'static str = "text/plain";

    fn encode(sealed: &Sealed) -> Result<Vec<u8>, Fault> {
        match sealed.attempt {
            3.. => Ok(sealed.attempt.to_string().into_bytes()),
            _ => Err(Fault::new(format!("no schema at attempt {}", sealed.attempt))),
        }
    }
}

impl Decode<Sealed> for FromTheThird {
    fn decode(value: &[u8]) -> Result<Sealed, Fault> {
        Ok(Sealed { order_id: String::new(), attempt: std::str::from_utf8(value)?.parse()? })
    }
}

/// The event of an order with the number 0 can never be written.
fn sealed(placed: Placed, meta: &Meta) -> Sealed {
    Sealed { attempt: if placed.number == 0 { 0 } else { meta.attempt }, order_id: placed.order_id }
}

#[handler(retry(max = 4, backoff = "1s..4s"))]
async fn returned(On(placed): On<Placed>, meta: Meta, State(plan): State<Plan>) -> Sealed {
    plan.note(&placed, &meta);
    sealed(placed, &meta)
}

#[handler(retry(max = 4, backoff = "1s..4s"))]
async fn returned_with_writes(
    On(placed): On<Placed>,
    mut tx: Tx,
    meta: Meta,
    State(plan): State<Plan>,
) -> Result<(Option<Sealed>, Vec<Charged>), Failure> {
    plan.note(&placed, &meta);
    plan.write(&mut tx, &placed).await?;
    Ok((Some(sealed(placed, &meta)), Vec::new()))
}

#[handler(retry(max = 4, backoff = "1s..4s"))]
async fn by_hand(On(placed): On<Placed>, mut tx: Tx, meta: Meta, State(plan): State<Plan>) -> Result<(), Failure> {
    plan.note(&placed, &meta);
    plan.write(&mut tx, &placed).await?;
    tx.publish(&sealed(placed, &meta))?;
    Ok(())
}

#[handler(retry(max = 4, backoff = "1s..4s"))]
async fn refused(On(placed): On<Placed>, meta: Meta, State(plan): State<Plan>) -> Result<(), Failure<Sealed>> {
    plan.note(&placed, &meta);
    Err(Failure::Reject(sealed(placed, &meta)))
}

#[handler(retry(max = 4, backoff = "1s..4s"))]
async fn after_a_call(On(placed): On<Placed>, work: Work, meta: Meta, State(plan): State<Plan>) -> Result<Sealed, Failure> {
    plan.note(&placed, &meta);
    let mut tx = work.begin().await?;
    plan.write(&mut tx, &placed).await?;
    Ok(sealed(placed, &meta))
}

#[handler(retry(max = 4, backoff = "1s..4s"))]
async fn in_a_batch(Batch(all): Batch<Placed>, State(plan): State<Plan>) -> Vec<Sealed> {
    let of = |(placed, meta): (Placed, Meta)| {
        plan.note(&placed, &meta);
        sealed(placed, &meta)
    };
    all.into_iter().map(of).collect()
}

async fn pump(database: &Database, plan: &Plan, handlers: Vec<Handler>) -> Pump {
    Pump::of([service(database, plan).handlers(handlers)]).try_start(&["orders", "payments"]).await.unwrap()
}

async fn until_the_third(handlers: Vec<Handler>) {
    for database in databases().await {
        let (plan, name) = (Plan::done(), handlers[0].options().name);
        let pump = pump(&database, &plan, handlers.clone()).await;
        pump.publish(&placed("a", 1)).await;
        settle(&pump, &["payments"]).await;
        let attempts: Vec<_> = plan.calls().into_iter().map(|(.., attempt)| attempt).collect();
        assert_eq!(attempts, [1, 2, 3], "{name}");
        let published: Vec<_> = pump.published::<Sealed>().await.into_iter().map(|sealed| sealed.attempt).collect();
        assert_eq!(published, [3], "{name}");
        assert!(pump.service("payments").dead_letters(0, 10).await.unwrap().0.is_empty(), "{name}");
        pump.stop().await;
    }
}

async fn never(handlers: Vec<Handler>) {
    for database in databases().await {
        let (plan, name) = (Plan::done(), handlers[0].options().name);
        let pump = pump(&database, &plan, handlers.clone()).await;
        pump.publish(&placed("a", 0)).await;
        settle(&pump, &["payments"]).await;
        let letters = pump.service("payments").dead_letters(0, 10).await.unwrap().0;
        assert_eq!((letters.len(), letters[0].attempts, plan.calls().len()), (1, 4, 4), "{name}");
        assert_eq!(letters[0].error, "event Sealed cannot be written: no schema at attempt 0", "{name}");
        assert_eq!(metric(pump.service("payments"), "sagas_dead_letters_total", "reason=\"exhausted\""), 1.0, "{name}");
        pump.stop().await;
    }
}

#[tokio::test]
async fn the_message_is_tried_again_however_the_event_is_published() {
    let ways = handlers![returned, returned_with_writes, by_hand, refused, after_a_call, in_a_batch];
    for handler in ways {
        until_the_third(vec![handler.clone()]).await;
        never(vec![handler]).await;
    }
}

#[tokio::test]
async fn one_event_of_a_batch_fails_alone() {
    for database in databases().await {
        let plan = Plan::done();
        let pump = pump(&database, &plan, handlers![in_a_batch].to_vec()).await;
        for (key, number) in [("a", 0), ("b", 1), ("c", 2)] {
            pump.publish(&placed(key, number)).await;
        }
        settle(&pump, &["payments"]).await;
        let letters = pump.service("payments").dead_letters(0, 10).await.unwrap().0;
        assert_eq!((letters.len(), letters[0].attempts), (1, 4));
        assert_eq!(pump.published::<Sealed>().await.len(), 2);
        pump.stop().await;
    }
}

#[tokio::test]
async fn what_was_written_before_is_rolled_back() {
    for handlers in [handlers![returned_with_writes], handlers![by_hand], handlers![after_a_call]] {
        let database = sqlite().await;
        let plan = Plan::done().rows();
        let pump = pump(&database, &plan, handlers.to_vec()).await;
        pump.publish(&placed("a", 0)).await;
        pump.publish(&placed("b", 1)).await;
        settle(&pump, &["payments"]).await;
        assert_eq!(rows(&database).await, [("b".to_owned(), 1)], "one row, of the attempt that was written");
        pump.stop().await;
    }
}

/// How often an `exhausted` fn was called.
#[derive(Clone, Default)]
struct Called(Arc<AtomicU32>);

#[handler(retry(max = 1, backoff = "1s..4s"), exhausted = give_up)]
async fn fail(On(_): On<Placed>) -> Result<(), Failure> {
    Err(Failure::retry("planned"))
}

async fn give_up(On(placed): On<Placed>, State(called): State<Called>) -> Sealed {
    Sealed { order_id: placed.order_id, attempt: called.0.fetch_add(1, Ordering::SeqCst) + 1 }
}

#[tokio::test]
async fn an_exhausted_fn_is_called_until_its_event_is_written() {
    for database in databases().await {
        let called = Called::default();
        let service = service(&database, &Plan::done()).state(called.clone()).handlers(handlers![fail]);
        let pump = Pump::of([service]).try_start(&["orders", "payments"]).await.unwrap();
        pump.publish(&placed("a", 1)).await;
        settle(&pump, &["payments"]).await;
        assert_eq!(called.0.load(Ordering::SeqCst), 3);
        assert_eq!(pump.published::<Sealed>().await.len(), 1);
        assert_eq!(pump.service("payments").dead_letters(0, 10).await.unwrap().0.len(), 1);
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_unit_of_work_returns_the_error_and_goes_on() {
    for database in databases().await {
        let pump = pump(&database, &Plan::done(), handlers![returned].to_vec()).await;
        let mut unit = pump.service("payments").begin().await.unwrap();
        let error = unit.publish(&Sealed { order_id: "a".to_owned(), attempt: 0 }).unwrap_err();
        assert_eq!(error.to_string(), "event Sealed cannot be written: no schema at attempt 0");
        unit.publish(&Sealed { order_id: "a".to_owned(), attempt: 3 }).unwrap();
        unit.commit().await.unwrap();
        pump.run_until_quiet().await;
        assert_eq!(pump.published::<Sealed>().await.len(), 1);
        pump.advance(Duration::from_secs(1)).await;
        pump.stop().await;
    }
}
