//! What the random tests share: handlers that fail at random, and the effects that are expected in spite of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sagas::{message::Record, prelude::*};

use super::{Plan, placed, record};

/// The results of handlers that are drawn, in percent.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    pub retry: u8,
    pub later: u8,
    pub panic: u8,
}

/// The random source of handlers.
#[derive(Clone)]
pub struct Chance {
    draws: Arc<Mutex<fastrand::Rng>>,
    shares: Shares,
}

impl Chance {
    pub fn new(draws: fastrand::Rng, shares: Shares) -> Self {
        Self { draws: Arc::new(Mutex::new(draws)), shares }
    }

    /// Fails at random, or lets other tasks run.
    pub async fn draw(&self) -> Result<(), Failure> {
        let Shares { retry, later, panic } = self.shares;
        let drawn = self.draws.lock().unwrap().u8(0..100);
        match drawn {
            _ if drawn < retry => Err(Failure::retry("drawn")),
            _ if drawn < retry + later => Err(Failure::Later(Duration::from_millis(300))),
            _ if drawn < retry + later + panic => panic!("drawn"),
            ..40 => {
                tokio::task::yield_now().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Writes the row of a message.
pub async fn write(tx: &mut Tx, order_id: &str, number: u32) -> Result<(), Failure> {
    Ok(Plan::done().rows().write(tx, &placed(order_id, number)).await?)
}

/// Returns the record of an event with the fields of [`Placed`](super::Placed), as another program publishes it.
pub fn numbered(event: &str, order_id: &str, number: u32) -> Record {
    let value = format!(r#"{{"order_id":"{order_id}","number":{number}}}"#);
    let headers = [("ce_id", &*format!("m{number}")), ("ce_source", "shop"), ("ce_type", event)];
    record(Some(order_id.as_bytes()), Some(value.as_bytes()), &headers)
}

/// Checks that the rows of `order_id` are the numbers below `published` that belong to `key` of `keys`, once each and in order.
pub async fn assert_written(database: &Database, order_id: &str, (key, keys): (u32, u32), published: u32, run: &str) {
    let expected: Vec<_> = (0..published).filter(|number| number % keys == key).map(i64::from).collect();
    let written = sqlx::query_scalar::<sqlx::Any, i64>("SELECT number FROM entries WHERE order_id = $1 ORDER BY rowid");
    let written = written.bind(order_id.to_owned()).fetch_all(database).await.unwrap();
    assert_eq!(written, expected, "{run}: {order_id}");
}

/// Prints the seed, which a failing test shows.
#[expect(clippy::print_stdout, reason = "a failing run shows its seed")]
pub fn tell(seed: u64) {
    println!("seed {seed}");
}
