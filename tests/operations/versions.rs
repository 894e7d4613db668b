//! A program that does not know the version of an open instance does not start.

use std::sync::Arc;

use sagas::{prelude::*, transport::memory::Memory};

use crate::shop::{Cancelled, Confirmed, Created, Released, Reserved, Shop};

/// The flow of another day.
#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m", version = 2, name = "PlaceOrder")]
enum PlaceOrderAnew {
    #[step(on = Created, emits = Reserved, undo(on = Cancelled, emits = Released))]
    Reserve,
    #[step(pivot, on = Reserved, emits = Confirmed)]
    Confirm,
    #[abort(on(cancel, deadline), emits = Cancelled)]
    Cancel,
}

#[handler(step = PlaceOrderAnew::Reserve)]
async fn reserve(On(order): On<Created>) -> Reserved {
    Reserved { id: order.id }
}

#[handler(undo = PlaceOrderAnew::Reserve)]
async fn release(Undo(held): Undo<Reserved>) -> Released {
    Released { id: held.id }
}

#[handler(step = PlaceOrderAnew::Confirm)]
async fn confirm(On(held): On<Reserved>, _tx: Tx) -> Confirmed {
    Confirmed { id: held.id }
}

#[handler(step = PlaceOrderAnew::Cancel)]
async fn expire(On(deadline): On<Deadline<PlaceOrderAnew>>, _tx: Tx) -> Result<Cancelled, Failure> {
    Ok(Cancelled { id: deadline.key()? })
}

fn anew(database: &Database) -> App {
    let order =
        Service::new("order", database.clone()).tracks(Tracker::of::<PlaceOrderAnew>()).handlers(handlers![confirm, expire]);
    App::new("anew").service(order).remote(Remote::new("stock").handlers(handlers![reserve, release]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_instance_of_an_unknown_version_refuses_the_start_and_an_ended_one_does_not() {
    let shop = Shop::open().await;
    shop.place(1).await;
    shop.conduct.payments_wait(true);
    shop.place(2).await;
    let database = shop.databases[0].clone();
    let open = anew(&database).start(Arc::new(Memory::default())).await;
    let Err(error) = open else { panic!("an instance of version 1 is open") };
    let told = "service `order`: 1 open instances of saga `PlaceOrder` are of version 1, which this program does not know";
    assert!(error.problems[0].starts_with(told), "{error}");

    shop.sagas().complete("PlaceOrder", "2", "ada", "a new version comes").await.unwrap();
    shop.pump.stop().await;
    let handle = anew(&database).start(Arc::new(Memory::default())).await.unwrap();
    assert!(handle.stop().await);
}
