//! A small shop of three services, whose payments can be made to fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use sagas::{Settings, prelude::*, runtime::InstanceView};
use sagas::{
    testing::Pump,
    time::{Clock, Timestamp},
    transport::{Transport, memory::Memory},
};
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($topic:literal: $($name:ident)+;)+) => {
        $($(
            #[event(topic = $topic, key = id)]
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub struct $name {
                pub id: u64,
            }
        )+)+
    };
}

events! {
    "orders": Created Confirmed Cancelled;
    "stock": Reserved Insufficient Released;
    "payments": Paid Declined Refunded;
}

#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m")]
pub enum PlaceOrder {
    #[step(on = Created, emits = Reserved, rejects = Insufficient, undo(on(Declined, Cancelled), emits = Released))]
    Reserve,
    #[step(on = Reserved, emits = Paid, rejects = Declined, undo(on = Cancelled, emits = Refunded))]
    Pay,
    #[step(pivot, on = Paid, emits = Confirmed)]
    Confirm,
    #[abort(on(Insufficient, Released, cancel, deadline), emits = Cancelled)]
    Cancel,
}

/// How the shop behaves, and what it has in stock and in the till.
#[derive(Clone, Default)]
pub struct Conduct(Arc<Switches>);

#[derive(Default)]
struct Switches {
    pays: Broken,
    refunds: Broken,
    /// Payments wait, and cost no attempt.
    waits: AtomicBool,
    /// So do confirmations.
    undecided: AtomicBool,
    held: AtomicU32,
    taken: AtomicU32,
}

#[derive(Default)]
struct Broken(AtomicBool);

impl Conduct {
    pub fn payments_fail(&self, fail: bool) {
        self.0.pays.0.store(fail, Ordering::SeqCst);
    }

    pub fn refunds_fail(&self, fail: bool) {
        self.0.refunds.0.store(fail, Ordering::SeqCst);
    }

    pub fn payments_wait(&self, wait: bool) {
        self.0.waits.store(wait, Ordering::SeqCst);
    }

    pub fn confirmations_wait(&self, wait: bool) {
        self.0.undecided.store(wait, Ordering::SeqCst);
    }

    /// Orders whose goods are held, and orders that are paid.
    pub fn books(&self) -> (u32, u32) {
        (self.0.held.load(Ordering::SeqCst), self.0.taken.load(Ordering::SeqCst))
    }
}

#[handler(step = PlaceOrder::Reserve)]
async fn reserve(On(order): On<Created>, State(shop): State<Conduct>) -> Result<Reserved, Failure<Insufficient>> {
    if order.id == 0 {
        return Err(Failure::Reject(Insufficient { id: 0 }));
    }
    shop.0.held.fetch_add(1, Ordering::SeqCst);
    Ok(Reserved { id: order.id })
}

#[handler(undo = PlaceOrder::Reserve)]
async fn release(Undo(held): Undo<Reserved>, State(shop): State<Conduct>) -> Released {
    shop.0.held.fetch_sub(1, Ordering::SeqCst);
    Released { id: held.id }
}

#[handler(step = PlaceOrder::Pay, retry(max = 2, backoff = "1s..1s"))]
async fn pay(On(order): On<Reserved>, State(shop): State<Conduct>) -> Result<Paid, Failure<Declined>> {
    if shop.0.waits.load(Ordering::SeqCst) {
        return Err(Failure::Later(Duration::from_secs(1)));
    }
    if shop.0.pays.0.load(Ordering::SeqCst) {
        return Err(Failure::retry("the till is stuck"));
    }
    if order.id == 13 {
        return Err(Failure::Reject(Declined { id: order.id }));
    }
    shop.0.taken.fetch_add(1, Ordering::SeqCst);
    Ok(Paid { id: order.id })
}

#[handler(undo = PlaceOrder::Pay, retry(max = 2, backoff = "1s..1s"))]
async fn refund(Undo(paid): Undo<Paid>, State(shop): State<Conduct>) -> Result<Refunded, Failure> {
    if shop.0.refunds.0.load(Ordering::SeqCst) {
        return Err(Failure::retry("the till is locked"));
    }
    shop.0.taken.fetch_sub(1, Ordering::SeqCst);
    Ok(Refunded { id: paid.id })
}

#[handler(step = PlaceOrder::Confirm)]
async fn confirm(On(paid): On<Paid>, _tx: Tx, State(shop): State<Conduct>) -> Result<Confirmed, Failure> {
    if shop.0.undecided.load(Ordering::SeqCst) {
        return Err(Failure::Later(Duration::from_secs(1)));
    }
    Ok(Confirmed { id: paid.id })
}

#[event]
enum Refusal {
    Insufficient(Insufficient),
    Released(Released),
}

#[handler(step = PlaceOrder::Cancel)]
async fn cancel(On(refusal): On<Refusal>, _tx: Tx) -> Cancelled {
    match refusal {
        Refusal::Insufficient(Insufficient { id }) | Refusal::Released(Released { id }) => Cancelled { id },
    }
}

#[handler(step = PlaceOrder::Cancel)]
async fn expire(On(deadline): On<Deadline<PlaceOrder>>, _tx: Tx) -> Result<Cancelled, Failure> {
    Ok(Cancelled { id: deadline.key()? })
}

/// The shop, and what outlives it: its databases, its log and the time.
pub struct Shop {
    pub conduct: Conduct,
    pub pump: Pump,
    pub databases: [Database; 3],
    log: Arc<dyn Transport>,
    clock: Clock,
}

impl Shop {
    pub async fn open() -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_767_225_600_000));
        let log: Arc<dyn Transport> = Arc::new(Memory::with_clock(clock.clone()));
        let (conduct, databases) = (Conduct::default(), [Database::memory(), Database::memory(), Database::memory()]);
        let pump = start(&databases, &conduct, &log, &clock, Tracker::of::<PlaceOrder>()).await;
        Self { conduct, pump, databases, log, clock }
    }

    /// Stops the shop, lets `time` pass, and opens it again.
    pub async fn reopen_after(self, time: Duration) -> Self {
        let Self { conduct, pump, databases, log, clock } = self;
        pump.stop().await;
        clock.advance(time);
        let pump = start(&databases, &conduct, &log, &clock, Tracker::of::<PlaceOrder>()).await;
        pump.run_until_quiet().await;
        Self { conduct, pump, databases, log, clock }
    }

    /// Places an order.
    pub async fn place(&self, id: u64) {
        let mut work = self.pump.service("order").begin().await.unwrap();
        work.publish(&Created { id }).unwrap();
        work.commit().await.unwrap();
        self.pump.run_until_quiet().await;
    }

    /// Lets the attempts of a handler that fails end.
    pub async fn until_given_up(&self) {
        for _ in 0..3 {
            self.pump.advance(Duration::from_secs(2)).await;
        }
    }

    pub fn sagas(&self) -> sagas::Sagas {
        self.pump.service("order").sagas()
    }

    pub async fn saga(&self, id: u64) -> InstanceView {
        self.sagas().find("PlaceOrder", &id.to_string()).await.unwrap().unwrap()
    }

    /// What happened to an instance, each with its note.
    pub async fn history(&self, id: u64) -> Vec<(String, Option<String>)> {
        let history = self.sagas().history("PlaceOrder", &id.to_string()).await.unwrap();
        history.into_iter().map(|entry| (entry.event, entry.note)).collect()
    }
}

async fn start(databases: &[Database; 3], conduct: &Conduct, log: &Arc<dyn Transport>, clock: &Clock, tracker: Tracker) -> Pump {
    let [order, stock, payment] = databases.clone();
    let mut settings = Settings::default();
    settings.inbox_retention_days = 1;
    let services = [
        Service::new("order", order)
            .tracks(tracker.retention(Duration::from_secs(3 * 86_400)))
            .state(conduct.clone())
            .handlers(handlers![confirm, cancel, expire]),
        Service::new("stock", stock).state(conduct.clone()).handlers(handlers![reserve, release]),
        Service::new("payment", payment).state(conduct.clone()).handlers(handlers![pay, refund]),
    ];
    let services = services.map(|service| service.settings(settings.clone()));
    Pump::of(services).on(log.clone()).clock(clock.clone()).start().await
}
