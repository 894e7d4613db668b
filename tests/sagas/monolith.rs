//! Two steps of one service with the same compensating event: each compensation is a delivery of its own, the last step's first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sagas::{
    message::{Event, headers},
    prelude::*,
    saga::{InstanceKey, InstanceState, StepState},
    testing::Pump,
    transport::memory::Memory,
};

use crate::{
    shop::{
        Cancelled, Created, Paid, PlaceOrder, Refunded, Released, Reserved, Shop,
        books::{Charge, Status},
        conduct::{Act, Point},
        inventory, order, payment,
    },
    stage::{clock, databases, settings, until_attention_of},
};

/// A service that reserves goods and charges customers.
fn back_office(database: &Database, shop: &Shop) -> Service {
    let handlers = handlers![inventory::reserve, inventory::release, payment::pay, payment::refund];
    Service::new("back-office", database.clone()).state(shop.clone()).handlers(handlers).settings(settings())
}

/// A service with all handlers.
fn monolith(database: &Database, shop: &Shop) -> Service {
    let handlers = handlers![
        order::note_reserved,
        order::confirm,
        order::cancel_refused,
        order::cancel_overdue,
        inventory::reserve,
        inventory::release,
        payment::pay,
        payment::refund
    ];
    let service = Service::new("shop", database.clone()).state(shop.clone()).handlers(handlers).settings(settings());
    service.tracks(Tracker::of::<PlaceOrder>())
}

fn created(id: u64) -> Created {
    Created { id, quantity: 2, amount: 30 }
}

fn cancelled(id: u64) -> Cancelled {
    Cancelled { id, reason: "the customer cancelled".to_owned() }
}

async fn steps(database: &Database, service: &str, id: u64) -> Vec<(String, StepState)> {
    let key = InstanceKey { saga: PlaceOrder::NAME.to_owned(), id: id.to_string() };
    let steps = database.store().sagas().steps(service, &key).await.unwrap();
    let mut steps: Vec<_> = steps.into_iter().map(|step| (step.step, step.state)).collect();
    steps.sort_by(|(one, _), (other, _)| one.cmp(other));
    steps
}

fn named(steps: &[(&str, StepState)]) -> Vec<(String, StepState)> {
    steps.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
}

#[tokio::test]
async fn both_steps_are_undone_and_each_once() {
    for database in databases().await {
        let shop = Shop::with_stock(10);
        let pump = Pump::of([back_office(&database, &shop)]).start().await;
        pump.publish(&created(7)).await;
        pump.run_until_quiet().await;
        assert_eq!((shop.books.stock(), shop.books.charged(7)), (8, Some(Charge::Taken(30))));
        pump.publish(&cancelled(7)).await;
        pump.run_until_quiet().await;
        // The same event with another id: both barriers keep it from having an effect.
        pump.publish(&cancelled(7)).await;
        pump.run_until_quiet().await;
        shop.books.check();
        assert_eq!((shop.books.stock(), shop.books.charged(7)), (10, Some(Charge::Refunded(30))));
        assert_eq!(pump.published::<Refunded>().await, [Refunded { id: 7, amount: 30 }]);
        assert_eq!(pump.published::<Released>().await, [Released { id: 7 }]);
        let expected =
            [("CancelOrder", StepState::Done), ("ReserveStock", StepState::Undone), ("TakePayment", StepState::Undone)];
        assert_eq!(steps(&database, "back-office", 7).await, named(&expected));
        pump.stop().await;
    }
}

#[handler]
async fn tell_the_customer(On(_): On<Cancelled>, State(told): State<Arc<AtomicU32>>) {
    told.fetch_add(1, Ordering::SeqCst);
}

#[tokio::test]
async fn an_undo_that_is_added_comes_first_and_has_nothing_of_who_was_there() {
    for database in databases().await {
        let (shop, clock, told) = (Shop::with_stock(10), clock(), Arc::new(AtomicU32::new(0)));
        let log = Arc::new(Memory::with_clock(clock.clone()));
        let start = |seed, service: Service| {
            let service = service.state(told.clone()).handlers(handlers![tell_the_customer]);
            Pump::of([service]).on(log.clone()).clock(clock.clone()).seed(seed).start()
        };
        let pump = start(1, Service::new("back-office", database.clone()).settings(settings())).await;
        pump.publish(&cancelled(7)).await;
        pump.run_until_quiet().await;
        assert_eq!(told.load(Ordering::SeqCst), 1);
        let copies = pump.records(Cancelled::TOPIC).await;
        drop(pump);
        let pump = start(2, back_office(&database, &shop)).await;
        for copy in copies {
            pump.publish_record((*copy.record).clone()).await;
        }
        pump.run_until_quiet().await;
        assert_eq!(told.load(Ordering::SeqCst), 1, "it has told this before");
        let barred = [("CancelOrder", StepState::Done), ("ReserveStock", StepState::Barred), ("TakePayment", StepState::Barred)];
        assert_eq!(steps(&database, "back-office", 7).await, named(&barred), "and the compensations have heard it");
        pump.stop().await;
    }
}

#[tokio::test]
async fn the_last_step_is_undone_first_and_one_is_retried_without_the_other() {
    for database in databases().await {
        let shop = Shop::with_stock(10);
        let pump = Pump::of([back_office(&database, &shop)]).start().await;
        pump.publish(&created(7)).await;
        pump.run_until_quiet().await;
        shop.conduct.set(Point::Refund, Act::Fail);
        pump.publish(&cancelled(7)).await;
        pump.run_until_quiet().await;
        assert_eq!((shop.conduct.calls(Point::Refund), shop.conduct.calls(Point::Release)), (1, 0));
        shop.conduct.clear(Point::Refund);
        shop.conduct.set(Point::Release, Act::Fail);
        pump.advance(Duration::from_secs(2)).await;
        let failed = shop.conduct.calls(Point::Release);
        assert!(shop.conduct.calls(Point::Refund) == 2 && failed >= 1);
        shop.conduct.clear(Point::Release);
        pump.advance(Duration::from_secs(2)).await;
        assert_eq!((shop.conduct.calls(Point::Refund), shop.conduct.calls(Point::Release)), (2, failed + 1));
        assert_eq!((shop.books.stock(), shop.books.charged(7)), (10, Some(Charge::Refunded(30))));
        shop.books.check();
        pump.stop().await;
    }
}

#[tokio::test]
async fn an_undo_before_its_step_bars_that_step_alone() {
    for database in databases().await {
        let shop = Shop::with_stock(10);
        let pump = Pump::of([back_office(&database, &shop)]).start().await;
        // No step of 8 was done, and only the first step of 9.
        pump.publish(&cancelled(8)).await;
        pump.publish(&Reserved { id: 8, quantity: 2, amount: 30 }).await;
        shop.conduct.set(Point::Pay, Act::Fail);
        pump.publish(&created(9)).await;
        pump.run_until_quiet().await;
        pump.publish(&created(8)).await;
        pump.publish(&cancelled(9)).await;
        shop.conduct.clear(Point::Pay);
        pump.run_until_quiet().await;
        pump.advance(Duration::from_secs(5)).await;
        let barred = [("CancelOrder", StepState::Done), ("ReserveStock", StepState::Barred), ("TakePayment", StepState::Barred)];
        assert_eq!(steps(&database, "back-office", 8).await, named(&barred));
        let undone = [("CancelOrder", StepState::Done), ("ReserveStock", StepState::Undone), ("TakePayment", StepState::Undone)];
        assert_eq!(steps(&database, "back-office", 9).await, named(&undone));
        assert_eq!(pump.published::<Released>().await, [Released { id: 9 }]);
        assert_eq!((pump.published::<Paid>().await, pump.published::<Refunded>().await), (vec![], vec![]));
        assert_eq!((shop.books.charged(8), shop.books.charged(9)), (None, Some(Charge::Void)));
        shop.books.check();
        pump.stop().await;
    }
}

#[tokio::test]
async fn the_dead_letter_of_one_is_retried_without_the_other() {
    for database in databases().await {
        let shop = Shop::with_stock(10);
        let pump = Pump::of([back_office(&database, &shop)]).start().await;
        pump.publish(&created(7)).await;
        pump.run_until_quiet().await;
        shop.conduct.set(Point::Refund, Act::Fail);
        pump.publish(&cancelled(7)).await;
        pump.run_until_quiet().await;
        for _ in 0..4 {
            pump.advance(Duration::from_secs(2)).await;
        }
        // A compensation that is given up does not block the other.
        assert_eq!((shop.conduct.calls(Point::Refund), shop.conduct.calls(Point::Release)), (3, 1));
        assert_eq!(pump.published::<Released>().await, [Released { id: 7 }]);
        let service = pump.service("back-office");
        let (letters, open) = service.dead_letters(0, 10).await.unwrap();
        assert_eq!(open, 1);
        assert_eq!(letters[0].received.record.header(headers::HANDLER), Some("refund"));
        let copy = pump.records("back-office.dlt").await;
        assert_eq!(copy[0].record.header(headers::HANDLER), Some("refund"));
        shop.conduct.clear(Point::Refund);
        assert!(service.retry_dead_letter(&letters[0].id).await.unwrap());
        pump.run_until_quiet().await;
        assert_eq!((shop.conduct.calls(Point::Refund), shop.conduct.calls(Point::Release)), (4, 1));
        assert_eq!(pump.published::<Refunded>().await, [Refunded { id: 7, amount: 30 }]);
        shop.books.check();
        pump.stop().await;
    }
}

#[tokio::test]
async fn what_is_left_after_a_crash_is_undone_by_whom_it_was_kept_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("shop.db").display());
    for database in [Database::memory(), Database::open(&file).await.unwrap()] {
        let (shop, clock) = (Shop::with_stock(10), clock());
        let log = Arc::new(Memory::with_clock(clock.clone()));
        let start = |seed| {
            let service = back_office(&database, &shop);
            Pump::of([service]).on(log.clone()).clock(clock.clone()).seed(seed).start()
        };
        let pump = start(1).await;
        pump.publish(&created(7)).await;
        pump.run_until_quiet().await;
        shop.conduct.set(Point::Refund, Act::Fail);
        pump.publish(&cancelled(7)).await;
        pump.run_until_quiet().await;
        drop(pump);
        shop.conduct.clear(Point::Refund);
        let pump = start(2).await;
        pump.advance(Duration::from_secs(5)).await;
        assert_eq!((shop.conduct.calls(Point::Refund), shop.conduct.calls(Point::Release)), (2, 1));
        assert_eq!(pump.published::<Refunded>().await, [Refunded { id: 7, amount: 30 }]);
        assert_eq!(pump.published::<Released>().await, [Released { id: 7 }]);
        shop.books.check();
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_whole_flow_lives_in_one_service() {
    for database in databases().await {
        let shop = Shop::with_stock(10);
        let pump = Pump::of([monolith(&database, &shop)]).saga::<PlaceOrder>().start().await;
        let service = pump.service("shop");
        order::place(service, &shop, 1, 2, 30).await;
        // One order above the limit of the gateway, and one above the stock.
        order::place(service, &shop, 2, 2, 3_000).await;
        order::place(service, &shop, 3, 20, 30).await;
        pump.run_until_quiet().await;
        shop.conduct.set(Point::Confirm, Act::Fail);
        order::place(service, &shop, 4, 2, 30).await;
        pump.run_until_quiet().await;
        assert_eq!(order::cancel(service, &shop, 4).await, Aborting::Now);
        shop.conduct.clear(Point::Confirm);
        pump.run_until_quiet().await;
        for _ in 0..3 {
            pump.advance(Duration::from_secs(2)).await;
        }
        for (id, status, state) in [
            (1, Status::Confirmed, InstanceState::Completed),
            (2, Status::Cancelled, InstanceState::Aborted),
            (3, Status::Cancelled, InstanceState::Aborted),
            (4, Status::Cancelled, InstanceState::Aborted),
        ] {
            shop.books.check_ended(id);
            assert_eq!(shop.books.status(id), Some(status), "{id}");
            let instance = service.sagas().find(PlaceOrder::NAME, &id.to_string()).await.unwrap().unwrap();
            assert_eq!((instance.state, instance.attention), (state, None), "{id}");
        }
        let expected = [
            ("CancelOrder", StepState::Done),
            ("ConfirmOrder", StepState::Barred),
            ("ReserveStock", StepState::Undone),
            ("TakePayment", StepState::Undone),
        ];
        assert_eq!(steps(&database, "shop", 4).await, named(&expected));
        pump.stop().await;
    }
}

#[tokio::test]
async fn an_undo_that_is_given_up_needs_attention_until_it_is_retried() {
    let shop = Shop::with_stock(10);
    let pump = Pump::of([monolith(&Database::memory(), &shop)]).start().await;
    let service = pump.service("shop");
    shop.conduct.set(Point::Confirm, Act::Fail);
    shop.conduct.set(Point::Release, Act::Fail);
    order::place(service, &shop, 7, 2, 30).await;
    pump.run_until_quiet().await;
    assert_eq!(order::cancel(service, &shop, 7).await, Aborting::Now);
    until_attention_of(&pump, "shop", 7).await;
    shop.conduct.clear(Point::Confirm);
    shop.conduct.clear(Point::Release);
    let find = async || service.sagas().find(PlaceOrder::NAME, "7").await.unwrap().unwrap();
    let attention = find().await.attention.unwrap();
    assert!(format!("{attention:?}").contains("the compensation of ReserveStock"), "{attention:?}");
    let (letters, _) = service.dead_letters(0, 10).await.unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter.received.record.header(headers::HANDLER), Some("release"));
    assert!(service.retry_dead_letter(&letter.id).await.unwrap());
    for _ in 0..3 {
        pump.advance(Duration::from_secs(2)).await;
    }
    let instance = find().await;
    assert_eq!((instance.state, instance.attention), (InstanceState::Aborted, None));
    shop.books.check_ended(7);
    pump.stop().await;
}
