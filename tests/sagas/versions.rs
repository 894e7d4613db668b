//! A program that does not know how an open instance continues does not start.

use sagas::{
    prelude::*,
    saga::{InstanceKey, InstanceRecord},
    transport::memory::Memory,
};

use crate::{
    shop::{
        Cancelled, Confirmed, Created, PlaceOrder, Released, Reserved,
        conduct::{Act, Point},
    },
    stage::Site,
};

/// Creates a stopped site whose orders 7 and 8 wait for their payment.
async fn site_with_open_orders() -> Site {
    let site = Site::on(Memory::new(), 10);
    let stage = site.open().await;
    stage.shop.conduct.set(Point::Pay, Act::Fail);
    for id in [7, 8] {
        stage.place(id, 1, 30).await;
    }
    stage.pump.run_until_quiet().await;
    stage.pump.stop().await;
    site
}

#[tokio::test]
async fn an_open_instance_of_a_version_that_is_not_known_refuses_the_start_and_an_ended_one_does_not() {
    let site = site_with_open_orders().await;
    // As a newer program would have begun it.
    let key = InstanceKey { saga: PlaceOrder::NAME.to_owned(), id: "7".to_owned() };
    let record = site.order.store().sagas().instance("order", &key).await.unwrap().unwrap();
    let newer = InstanceRecord { version: 2, ..record };
    let save = async |record: InstanceRecord| {
        let mut tx = site.order.store().begin().await.unwrap();
        tx.save_instances("order", &[record]).await.unwrap();
        tx.commit().await.unwrap();
    };
    save(newer.clone()).await;
    let Err(error) = site.try_open(site.services()).await else { panic!("it has started") };
    assert_eq!(
        error.problems,
        [
            "service `order`: 1 open instances of saga `PlaceOrder` are of version 2, which this program does not have; run the program that \
          has it until they have ended, or end them by hand"
        ]
    );
    save(InstanceRecord { ended_at: Some(site.clock.now()), ..newer }).await;
    site.open().await;
}

mod explained {
    //! The same saga, with other comments and a longer deadline.

    use super::*;
    use crate::shop::{Declined, Insufficient, Paid, Refunded};

    /// What the shop does.
    #[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "30m")]
    pub enum PlaceOrder {
        /// In the stock.
        #[step(on = Created, emits = Reserved, rejects = Insufficient, undo(on(Declined, Cancelled), emits = Released))]
        ReserveStock,
        #[step(on = Reserved, emits = Paid, rejects = Declined, undo(on = Cancelled, emits = Refunded))]
        TakePayment,
        #[step(pivot, on = Paid, emits = Confirmed)]
        ConfirmOrder,
        #[abort(on(Insufficient, Released, cancel, deadline), emits = Cancelled)]
        CancelOrder,
    }
}

/// Another saga, whose version claims that it is the same.
#[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "15m", name = "PlaceOrder")]
enum Reshaped {
    #[step(on = Created, emits = Reserved, undo(on = Cancelled, emits = Released))]
    ReserveStock,
    #[step(pivot, on = Reserved, emits = Confirmed)]
    ConfirmOrder,
    #[abort(on(cancel, deadline), emits = Cancelled)]
    CancelOrder,
}

#[handler(step = Reshaped::ReserveStock)]
async fn reserve(On(order): On<Created>) -> Reserved {
    Reserved { id: order.id, quantity: order.quantity, amount: order.amount }
}

#[handler(undo = Reshaped::ReserveStock)]
async fn release(Undo(held): Undo<Reserved>) -> Released {
    Released { id: held.id }
}

#[handler(step = Reshaped::ConfirmOrder)]
async fn confirm(On(held): On<Reserved>, _tx: Tx) -> Confirmed {
    Confirmed { id: held.id }
}

#[handler(step = Reshaped::CancelOrder)]
async fn cancel(On(deadline): On<Deadline<Reshaped>>, _tx: Tx) -> Result<Cancelled, Failure> {
    Ok(Cancelled { id: deadline.key()?, reason: deadline.cause.to_string() })
}

#[tokio::test]
async fn another_shape_under_the_same_version_refuses_the_start() {
    let same = explained::PlaceOrder::definition();
    assert!(same.has_the_shape_of(&PlaceOrder::definition()), "what is said of it, and its deadline, are no shape");
    let site = site_with_open_orders().await;
    let order = Service::new("order", site.order.clone()).tracks(Tracker::of::<Reshaped>()).handlers(handlers![confirm, cancel]);
    let inventory = Service::new("inventory", site.inventory.clone()).handlers(handlers![reserve, release]);
    let Err(error) = site.try_open([order, inventory]).await else { panic!("it has started") };
    let told = "service `order`: 2 open instances of saga `PlaceOrder` began in another shape of its version 1; give the new shape a `version`";
    assert!(error.problems[0].starts_with(told), "{error}");
}
