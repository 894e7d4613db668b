//! A failure in the framework's own part of a saga, when it reads or writes one instance, affects only that instance.

use std::time::Duration;

use sagas::{prelude::*, store::StoreError, testing::Pump};
use serde::{Deserialize, Serialize};

use crate::support::{
    store::{Comes, Faults, failing},
    *,
};

macro_rules! events {
    ($($name:ident)+) => {
        $(
            #[event(topic = "deals", key = id)]
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub struct $name {
                pub id: u64,
            }
        )+
    };
}

events!(Begun Agreed GivenUp);

#[saga(key = u64, starts = Begun, completes = Agreed, aborts = GivenUp, deadline = "15m")]
pub enum Deal {
    #[step(pivot, on = Begun, emits = Agreed)]
    Agree,
    #[abort(on(deadline), emits = GivenUp)]
    GiveUp,
}

/// Instances with this id or a higher one wait for longer than the deadline.
const SLOW: u64 = 100;

#[handler(step = Deal::Agree, retry(max = 3, backoff = "1s..4s"))]
async fn agree(On(begun): On<Begun>, _tx: Tx) -> Result<Agreed, Failure> {
    if begun.id >= SLOW { Err(Failure::Later(Duration::from_secs(3_600))) } else { Ok(Agreed { id: begun.id }) }
}

#[handler(step = Deal::GiveUp)]
async fn give_up(On(deadline): On<Deadline<Deal>>) -> Result<GivenUp, Failure> {
    Ok(GivenUp { id: deadline.key()? })
}

async fn opened(database: &Database, faults: &Faults) -> Pump {
    let order =
        Service::new("order", failing(database, faults)).tracks(Tracker::of::<Deal>()).handlers(handlers![agree, give_up]);
    Pump::of([order]).clock(clock()).start().await
}

#[tokio::test]
async fn what_fails_for_one_instance_fails_its_message_alone() {
    for call in ["load_steps", "load_instances", "append_history"] {
        for trouble in [Comes::ToPanic, Comes::To(StoreError::Incompatible("a row holds what this program did not write".into()))]
        {
            for database in databases().await {
                let faults = Faults::default();
                let it = trouble.clone();
                faults.act(move |at, about| (at == call && about.split(' ').any(|id| id == "7")).then(|| it.clone()));
                let pump = opened(&database, &faults).await;
                for id in 0..20 {
                    pump.publish(&Begun { id }).await;
                }
                let order = pump.service("order");
                let others = || async { pump.published::<Agreed>().await.len() == 19 };
                advance_until(pump.clock(), "the others are done", others).await;
                let given_up = || async { order.dead_letters(0, 1).await.unwrap().1 > 0 };
                advance_until(pump.clock(), "it is given up", given_up).await;
                let (letters, _) = order.dead_letters(0, 10).await.unwrap();
                for letter in &letters {
                    assert_eq!(letter.received.record.key.as_deref(), Some(&b"7"[..]), "{call}: {}", letter.error);
                }
                faults.clear();
                order.retry_dead_letters(&sagas::dead_letter::DeadLetterFilter::open(), 10).await.unwrap();
                let all = || async { pump.published::<Agreed>().await.len() == 20 };
                advance_until(pump.clock(), &format!("it is done in spite of {call}"), all).await;
                pump.stop().await;
            }
        }
    }
}

#[tokio::test]
async fn a_deadline_that_panics_stops_no_other_and_is_carried_out_later() {
    for call in ["load_steps", "load_instances", "append_history"] {
        for database in databases().await {
            let faults = Faults::default();
            let pump = opened(&database, &faults).await;
            for id in [SLOW, SLOW + 1] {
                pump.publish(&Begun { id }).await;
            }
            pump.run_until_quiet().await;
            faults.act(move |at, about| (at == call && about.contains("100 ")).then_some(Comes::ToPanic));
            let given_up = |id: u64| {
                let pump = &pump;
                async move {
                    pump.clock().advance(Duration::from_secs(1));
                    pump.published::<GivenUp>().await.iter().any(|given_up| given_up.id == id)
                }
            };
            until("the other is given up", || given_up(SLOW + 1)).await;
            assert!(!given_up(SLOW).await, "{call}");
            assert!(metric(pump.service("order"), "sagas_task_panics_total", "deadlines") > 0.0, "{call}");
            faults.clear();
            until("it is given up", || given_up(SLOW)).await;
            pump.stop().await;
        }
    }
}

/// The task that waits for deadlines restarts after a panic.
#[tokio::test]
async fn deadlines_are_carried_out_though_their_task_has_panicked() {
    let (database, faults) = (Database::memory(), Faults::default());
    let pump = opened(&database, &faults).await;
    pump.publish(&Begun { id: SLOW }).await;
    pump.run_until_quiet().await;
    let mut left = 3_u32;
    faults.act(move |at, _| {
        let panics = at == "sagas" && left > 0;
        left -= u32::from(panics);
        panics.then_some(Comes::ToPanic)
    });
    until("it is given up", || {
        pump.clock().advance(Duration::from_secs(1));
        async { pump.published::<GivenUp>().await.len() == 1 }
    })
    .await;
    pump.stop().await;
}
