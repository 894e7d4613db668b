//! An event that its codec cannot write is a technical error also of a compensation, and of the handler of a deadline.

use std::time::Duration;

use sagas::{
    Fault,
    message::{Decode, Encode},
    prelude::*,
    saga::InstanceState,
    testing::Pump,
};
use serde::{Deserialize, Serialize};

use crate::support::*;

/// A codec that writes an event only from the third attempt of its handler on.
pub struct FromTheThird;

macro_rules! events {
    ($($name:ident)+) => {$(
        #[event(topic = "holds", key = id)]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            pub id: u64,
        }
    )+};
}

macro_rules! events_from_the_third {
    ($($name:ident)+) => {$(
        #[event(topic = "ends", key = id, codec = FromTheThird)]
        #[derive(Debug)]
        pub struct $name {
            pub id: u64,
            pub attempt: u32,
        }

        impl Encode<$name> for FromTheThird {
            const CONTENT_TYPE: &'static str = "text/plain";

            fn encode(event: &$name) -> Result<Vec<u8>, Fault> {
                match event.attempt {
                    3.. => Ok(format!("{} {}", event.id, event.attempt).into_bytes()),
                    attempt => Err(Fault::new(format!("no schema at attempt {attempt}"))),
                }
            }
        }

        impl Decode<$name> for FromTheThird {
            fn decode(value: &[u8]) -> Result<$name, Fault> {
                let (id, attempt) = std::str::from_utf8(value)?.split_once(' ').ok_or_else(|| Fault::new("no attempt"))?;
                Ok($name { id: id.parse()?, attempt: attempt.parse()? })
            }
        }
    )+};
}

events!(Begun Held Agreed);
events_from_the_third!(Freed GivenUp);

#[saga(key = u64, starts = Begun, completes = Agreed, aborts = GivenUp, deadline = "15m")]
pub enum Hold {
    #[step(on = Begun, emits = Held, undo(on = GivenUp, emits = Freed))]
    Take,
    #[step(pivot, on = Held, emits = Agreed)]
    Agree,
    #[abort(on(deadline), emits = GivenUp)]
    GiveUp,
}

#[handler(step = Hold::Take)]
async fn take(On(begun): On<Begun>, _tx: Tx) -> Held {
    Held { id: begun.id }
}

#[handler(undo = Hold::Take, retry(max = 5, backoff = "1s..4s"))]
async fn free(Undo(held): Undo<Held>, meta: Meta) -> Freed {
    Freed { id: held.id, attempt: meta.attempt }
}

/// Waits for longer than the deadline.
#[handler(step = Hold::Agree)]
async fn agree(On(_): On<Held>, _tx: Tx) -> Result<Agreed, Failure> {
    Err(Failure::Later(Duration::from_secs(3_600)))
}

#[handler(step = Hold::GiveUp)]
async fn give_up(On(deadline): On<Deadline<Hold>>, meta: Meta) -> Result<GivenUp, Failure> {
    Ok(GivenUp { id: deadline.key()?, attempt: meta.attempt })
}

#[tokio::test]
async fn a_deadline_and_a_compensation_are_tried_again() {
    for database in databases().await {
        let service =
            Service::new("order", database).tracks(Tracker::of::<Hold>()).handlers(handlers![take, free, agree, give_up]);
        let pump = Pump::of([service]).clock(clock()).start().await;
        pump.publish(&Begun { id: 7 }).await;
        pump.run_until_quiet().await;
        let order = pump.service("order");
        // Past the deadline, then through the waits of both handlers.
        pump.advance(Duration::from_secs(15 * 60)).await;
        for _ in 0..30 {
            pump.advance(Duration::from_secs(10)).await;
        }
        let instance = order.sagas().find(Hold::NAME, "7").await.unwrap().unwrap();
        assert_eq!((instance.state, instance.attention), (InstanceState::Aborted, None));
        let attempts: Vec<_> = pump.published::<GivenUp>().await.into_iter().map(|given_up| given_up.attempt).collect();
        assert_eq!(attempts, [3]);
        let attempts: Vec<_> = pump.published::<Freed>().await.into_iter().map(|freed| freed.attempt).collect();
        assert_eq!(attempts, [3]);
        pump.stop().await;
    }
}
