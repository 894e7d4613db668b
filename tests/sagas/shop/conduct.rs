//! The behaviour of handlers, as a test sets it: each handler asks at named points what to do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use sagas::Fault;
use tokio::sync::{Notify, Semaphore};

/// What a handler does at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It fails, as in an outage.
    Fail,
    /// It fails permanently, if the handler distinguishes that.
    Die,
    /// It never returns.
    Hang,
    /// It reports that it is at the point, and waits until it is let in.
    Knock,
}

/// The points at which handlers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    Reserve,
    Release,
    /// Before the call to the gateway.
    Pay,
    /// After the gateway has answered.
    Answer,
    Refund,
    Confirm,
    Overdue,
}

/// The behaviour of the handlers. Clones share it.
#[derive(Clone, Default)]
pub struct Conduct(Arc<Inner>);

#[derive(Default)]
struct Inner {
    acts: Mutex<BTreeMap<Point, Act>>,
    calls: Mutex<BTreeMap<Point, u32>>,
    knocked: Notify,
    door: Door,
}

struct Door(Semaphore);

impl Default for Door {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Conduct {
    pub fn set(&self, point: Point, act: Act) {
        self.0.acts.lock().unwrap().insert(point, act);
    }

    /// Lets handlers continue at `point`.
    pub fn clear(&self, point: Point) {
        self.0.acts.lock().unwrap().remove(&point);
    }

    /// Returns whether handlers must fail permanently at `point`.
    pub fn is_fatal(&self, point: Point) -> bool {
        self.0.acts.lock().unwrap().get(&point) == Some(&Act::Die)
    }

    /// Returns how often handlers reached `point`.
    pub fn calls(&self, point: Point) -> u32 {
        self.0.calls.lock().unwrap().get(&point).copied().unwrap_or_default()
    }

    /// Called by a handler at `point`.
    pub async fn at(&self, point: Point) -> Result<(), Fault> {
        *self.0.calls.lock().unwrap().entry(point).or_default() += 1;
        let act = self.0.acts.lock().unwrap().get(&point).copied();
        match act {
            None => {}
            Some(Act::Fail | Act::Die) => return Err(Fault::new(format!("planned at {point:?}"))),
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Knock) => {
                self.0.knocked.notify_one();
                if let Ok(permit) = self.0.door.0.acquire().await {
                    permit.forget();
                }
            }
        }
        Ok(())
    }

    /// Waits until a handler has knocked.
    pub async fn knocked(&self) {
        self.0.knocked.notified().await;
    }

    /// Lets `count` handlers in that have knocked.
    pub fn let_in(&self, count: usize) {
        self.0.door.0.add_permits(count);
    }
}
