//! Compares the cost of advancing an instance with 1,000 and with 100,000 open instances of a saga.
//!
//! ```text
//! cargo run --release -p sagas-benches --bin open-instances
//! cargo run --release -p sagas-benches --bin open-instances -- --database postgres://sagas:sagas@127.0.0.1:5432/sagas
//! ```
//!
//! Both services run in this process, in turn. The result is the ratio within each pair of neighbouring rounds.

#![allow(clippy::print_stdout)]

use std::{sync::Arc, time::Duration};

use clap::Parser;
use sagas::{Handle, ServiceHandle, prelude::*, transport::memory::Memory};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(name = "open-instances")]
struct Options {
    /// Open instances in the small database
    #[arg(long, default_value_t = 1_000)]
    few: usize,
    /// Open instances in the large database
    #[arg(long, default_value_t = 100_000)]
    many: usize,
    /// Instances that are advanced in a round
    #[arg(long, default_value_t = 500)]
    advanced: usize,
    /// Rounds
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// A PostgreSQL database, instead of SQLite files
    #[arg(long)]
    database: Option<String>,
}

macro_rules! events {
    ($($name:ident)+) => {
        $(
            #[event(topic = "orders", key = id)]
            #[derive(Debug, Clone, Serialize, Deserialize)]
            struct $name {
                id: u64,
            }
        )+
    };
}

events!(Created Reserved Released Confirmed Cancelled);

#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "1d")]
enum PlaceOrder {
    #[step(on = Created, emits = Reserved, undo(on = Cancelled, emits = Released))]
    Reserve,
    #[step(pivot, on = Reserved, emits = Confirmed)]
    Confirm,
    #[abort(on(cancel, deadline), emits = Cancelled)]
    Cancel,
}

#[handler(step = PlaceOrder::Reserve)]
async fn reserve(On(order): On<Created>) -> Reserved {
    Reserved { id: order.id }
}

#[handler(undo = PlaceOrder::Reserve)]
async fn release(Undo(held): Undo<Reserved>) -> Released {
    Released { id: held.id }
}

#[handler(step = PlaceOrder::Confirm)]
async fn confirm(On(held): On<Reserved>, _tx: Tx) -> Confirmed {
    Confirmed { id: held.id }
}

#[handler(step = PlaceOrder::Cancel)]
async fn expire(On(deadline): On<Deadline<PlaceOrder>>, _tx: Tx) -> Result<Cancelled, Failure> {
    Ok(Cancelled { id: deadline.key()? })
}

/// A service that tracks the saga, with a number of open instances.
struct World {
    app: Handle,
    order: ServiceHandle,
    stock: ServiceHandle,
    /// The ids of the next instance to begin and of the next to advance. The oldest instance is advanced first.
    next: (u64, u64),
}

impl World {
    async fn open(url: &str, instances: usize) -> Result<Self, Error> {
        let order = Service::new("order", Database::open(url).await?)
            .tracks(Tracker::of::<PlaceOrder>())
            .handlers(handlers![confirm, expire]);
        // Publishes the events of the steps, and handles none.
        let stock = Service::new("stock", Database::memory()).publishes::<Reserved>();
        let elsewhere = Remote::new("inventory").handlers(handlers![reserve, release]);
        let app = App::new("bench").services([order, stock]).remote(elsewhere).start(Arc::new(Memory::default())).await?;
        let service = |name| app.service(name).cloned().ok_or("the service runs");
        let (order, stock) = (service("order")?, service("stock")?);
        let mut world = Self { app, order, stock, next: (0, 0) };
        world.begin(instances).await?;
        Ok(world)
    }

    /// Begins `count` instances.
    async fn begin(&mut self, count: usize) -> Result<(), Error> {
        let first = self.next.0;
        self.next.0 += count as u64;
        for portion in (first..self.next.0).collect::<Vec<_>>().chunks(1_000) {
            let mut work = self.order.begin().await?;
            for id in portion {
                work.publish(&Created { id: *id }).map_err(|fault| fault.to_string())?;
            }
            work.commit().await?;
        }
        self.app.quiet().await;
        Ok(())
    }

    /// Advances `count` instances to their end, and returns how long that took.
    async fn advance(&mut self, count: usize) -> Result<Duration, Error> {
        let first = self.next.1;
        self.next.1 += count as u64;
        let mut work = self.stock.begin().await?;
        for id in first..self.next.1 {
            work.publish(&Reserved { id }).map_err(|fault| fault.to_string())?;
        }
        let began = Instant::now();
        work.commit().await?;
        self.app.quiet().await;
        let took = began.elapsed();
        self.begin(count).await?;
        Ok(took)
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options = Options::parse();
    let folder = std::env::temp_dir().join(format!("sagas-open-instances-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let url = |name: &str| match &options.database {
        Some(server) => {
            let separator = if server.contains('?') { '&' } else { '?' };
            format!("{server}{separator}schema=open_instances_{name}_{}", std::process::id())
        }
        None => format!("sqlite://{}", folder.join(format!("{name}.sqlite")).display()),
    };
    let mut few = World::open(&url("few"), options.few).await?;
    let mut many = World::open(&url("many"), options.many).await?;
    println!("{} and {} instances are open; {} are advanced in a round", options.few, options.many, options.advanced);
    let mut ratios = Vec::with_capacity(options.rounds);
    for round in 1..=options.rounds {
        let (one, other) = (few.advance(options.advanced).await?, many.advance(options.advanced).await?);
        let each = |took: Duration| took.as_secs_f64() * 1e6 / options.advanced as f64;
        ratios.push(each(other) / each(one));
        println!("round {round:>2}  {:>7.1} us each of few, {:>7.1} us each of many", each(one), each(other));
    }
    ratios.sort_by(f64::total_cmp);
    let (lowest, median, highest) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    println!("\nmany / few: {median:.2} (median; {lowest:.2} to {highest:.2})");
    few.app.stop().await;
    many.app.stop().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
