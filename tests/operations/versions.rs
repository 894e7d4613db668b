//! A program that does not know the version of an open instance does not start.

use std::sync::Arc;

use sagas::{prelude::*, transport::memory::Memory};

use crate::shop::{Cancelled, Confirmed, Created, Declined, Insufficient, Paid, Refunded, Released, Reserved, Shop};

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

/// The same flow, with another word for it and more time: its instances go on.
mod explained {
    use super::*;

    /// What the shop does.
    #[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "30m", name = "PlaceOrder")]
    pub(super) enum PlaceOrder {
        /// In the stock.
        #[step(on = Created, emits = Reserved, rejects = Insufficient, undo(on(Declined, Cancelled), emits = Released))]
        Reserve,
        #[step(on = Reserved, emits = Paid, rejects = Declined, undo(on = Cancelled, emits = Refunded))]
        Pay,
        #[step(pivot, on = Paid, emits = Confirmed)]
        Confirm,
        #[abort(on(Insufficient, Released, cancel, deadline), emits = Cancelled)]
        Cancel,
    }
}

/// Another flow, whose version says that it is the same.
#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m", name = "PlaceOrder")]
enum Reshaped {
    #[step(on = Created, emits = Reserved, undo(on = Cancelled, emits = Released))]
    Reserve,
    #[step(pivot, on = Reserved, emits = Confirmed)]
    Confirm,
    #[abort(on(cancel, deadline), emits = Cancelled)]
    Cancel,
}

#[handler(step = Reshaped::Confirm)]
async fn confirm_at_once(On(held): On<Reserved>, _tx: Tx) -> Confirmed {
    Confirmed { id: held.id }
}

#[handler(step = Reshaped::Cancel)]
async fn expire_too(On(deadline): On<Deadline<Reshaped>>, _tx: Tx) -> Result<Cancelled, Failure> {
    Ok(Cancelled { id: deadline.key()? })
}

#[handler(step = Reshaped::Reserve)]
async fn reserve_too(On(order): On<Created>) -> Reserved {
    Reserved { id: order.id }
}

#[handler(undo = Reshaped::Reserve)]
async fn release_too(Undo(held): Undo<Reserved>) -> Released {
    Released { id: held.id }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_shape_under_the_same_version_refuses_the_start() {
    let same = explained::PlaceOrder::definition();
    assert!(same.has_the_shape_of(&crate::shop::PlaceOrder::definition()), "what is said of it, and its deadline, are no shape");
    let shop = Shop::open().await;
    shop.conduct.payments_wait(true);
    shop.place(1).await;
    shop.pump.stop().await;
    let order = Service::new("order", shop.databases[0].clone())
        .tracks(Tracker::of::<Reshaped>())
        .handlers(handlers![confirm_at_once, expire_too]);
    let stock = Remote::new("stock").handlers(handlers![reserve_too, release_too]);
    let started = App::new("reshaped").service(order).remote(stock).start(Arc::new(Memory::default())).await;
    let Err(error) = started else { panic!("an instance of the other shape is open") };
    let told = "service `order`: 1 open instances of saga `PlaceOrder` began in another shape of its version 1; give the new shape a `version`";
    assert!(error.problems[0].starts_with(told), "{error}");
}
