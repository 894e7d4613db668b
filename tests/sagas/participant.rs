//! A service whose saga has steps in other, unknown programs: it is checked for its own part, starts, and can be tested, with
//! only the definition of the saga.

use sagas::{handler::Handler, prelude::*, saga::InstanceState, testing::Pump};

use crate::shop::{Cancelled, Confirmed, Paid, PlaceOrder, Refunded, Reserved, Shop, books::Status, inventory, order, payment};

fn shop() -> Shop {
    Shop::with_stock(10)
}

fn service(name: &str, handlers: impl Into<Vec<Handler>>) -> Service {
    Service::new(name, Database::memory()).state(shop()).handlers(handlers.into())
}

fn check(service: Service) -> Vec<String> {
    App::new("participant").service(service).check()
}

fn reserved(id: u64) -> Reserved {
    Reserved { id, quantity: 1, amount: 30 }
}

fn cancelled(id: u64) -> Cancelled {
    Cancelled { id, reason: "the customer cancelled".to_owned() }
}

/// Returns the other services of the saga, by their steps.
fn others() -> [Remote; 2] {
    [
        Remote::new("inventory").does(PlaceOrder::ReserveStock).undoes(PlaceOrder::ReserveStock),
        Remote::new("payment").does(PlaceOrder::TakePayment).undoes(PlaceOrder::TakePayment),
    ]
}

fn order_service() -> Remote {
    Remote::new("order").does(PlaceOrder::ConfirmOrder).does(PlaceOrder::CancelOrder).tracks(Tracker::of::<PlaceOrder>())
}

#[tokio::test]
async fn a_participant_alone_does_and_undoes_its_step() {
    let shop = shop();
    let pump = Pump::of([payment::service(&Database::memory(), &shop)]).start().await;
    pump.publish(&reserved(7)).await;
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<Paid>().await, [Paid { id: 7, amount: 30 }]);
    pump.publish(&cancelled(7)).await;
    // A compensation before its step bars the step.
    pump.publish(&cancelled(8)).await;
    pump.run_until_quiet().await;
    pump.publish(&reserved(8)).await;
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<Refunded>().await, [Refunded { id: 7, amount: 30 }]);
    assert_eq!(pump.published::<Paid>().await.len(), 1);
    pump.stop().await;
}

#[tokio::test]
async fn a_tracker_alone_follows_what_others_publish() {
    let shop = shop();
    let [inventory, payment] = others();
    let services = [order::service(&Database::memory(), &shop)];
    let pump = Pump::of(services).saga::<PlaceOrder>().remote(inventory).remote(payment).start().await;
    order::place(pump.service("order"), &shop, 7, 1, 30).await;
    pump.publish(&reserved(7)).await;
    pump.publish(&Paid { id: 7, amount: 30 }).await;
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<Confirmed>().await, [Confirmed { id: 7 }]);
    assert_eq!(shop.books.status(7), Some(Status::Confirmed));
    let instance = pump.service("order").sagas().find(PlaceOrder::NAME, "7").await.unwrap().unwrap();
    assert_eq!((instance.state, instance.not_allowed), (InstanceState::Completed, 0));
    pump.stop().await;
}

#[test]
fn a_participant_needs_no_word_about_the_others() {
    assert_eq!(check(payment::service(&Database::memory(), &shop())), [""; 0]);
    assert_eq!(check(inventory::service(&Database::memory(), &shop())), [""; 0]);
    assert_eq!(check(order::service(&Database::memory(), &shop())), [""; 0]);
}

#[test]
fn the_whole_flow_is_checked_by_its_steps() {
    let app = || App::new("shop").service(order::service(&Database::memory(), &shop())).saga::<PlaceOrder>();
    let [inventory, payment] = others();
    assert_eq!(app().remote(inventory).remote(payment).check(), [""; 0]);
    let [inventory, _] = others();
    let half = app().remote(inventory).remote(Remote::new("payment").does(PlaceOrder::TakePayment));
    assert_eq!(
        half.check(),
        [
            "saga `PlaceOrder`: no handler undoes PlaceOrder::TakePayment; write `#[handler(undo = PlaceOrder::TakePayment)]` and give \
          the handler to its service, or declare the service that runs elsewhere with `App::remote`"
        ]
    );
    let [inventory, payment] = others();
    let twice = app().remote(inventory.does(PlaceOrder::TakePayment)).remote(payment);
    assert!(
        twice.check().iter().any(|problem| problem
            == "saga `PlaceOrder`: service `inventory` and service `payment` each does PlaceOrder::TakePayment; keep one"),
        "{:#?}",
        twice.check()
    );
    let [_, payment] = others();
    let app = App::new("shop").service(inventory::service(&Database::memory(), &shop())).saga::<PlaceOrder>();
    assert_eq!(app.remote(order_service()).remote(payment).check(), [""; 0]);
}

#[test]
fn who_takes_part_is_known_by_steps_too() {
    let [inventory, payment] = others();
    let app = App::new("shop").remote(inventory).remote(payment).remote(order_service());
    let [chart] = &app.charts()[..] else { panic!() };
    assert_eq!(chart.participants.tracker.as_deref(), Some("order"));
    assert_eq!(chart.participants.done_by["TakePayment"], "payment");
    assert_eq!(chart.participants.undone_by["ReserveStock"], "inventory");
    assert_eq!(chart.participants.done_by["CancelOrder"], "order");
}

#[test]
fn ones_own_part_is_always_checked() {
    assert_eq!(
        check(service("payment", handlers![payment::pay])),
        [
            "saga `PlaceOrder`: `sagas::shop::payment::pay` of service `payment` does PlaceOrder::TakePayment, and no handler undoes \
          PlaceOrder::TakePayment; write `#[handler(undo = PlaceOrder::TakePayment)]` and give the handler to the same service"
        ]
    );
    assert_eq!(
        check(service("payment", handlers![payment::refund])),
        [
            "saga `PlaceOrder`: `sagas::shop::payment::refund` of service `payment` undoes PlaceOrder::TakePayment, and no handler does \
          PlaceOrder::TakePayment; write `#[handler(step = PlaceOrder::TakePayment)]` and give the handler to the same service"
        ]
    );
    let untracked = handlers![order::confirm, order::cancel_refused, order::cancel_overdue];
    assert_eq!(
        check(service("order", untracked)),
        [
            "saga `PlaceOrder`: `sagas::shop::order::confirm` of service `order` does PlaceOrder::ConfirmOrder, and its service does not \
          track the saga; one commit decides, so add `.tracks(Tracker::of::<PlaceOrder>())` to service `order`"
        ]
    );
    let undecided = service("order", handlers![order::confirm, order::cancel_refused]).tracks(Tracker::of::<PlaceOrder>());
    assert_eq!(
        check(undecided),
        ["saga `PlaceOrder`: no handler does PlaceOrder::CancelOrder when the deadline has passed; write `#[handler(step = \
          PlaceOrder::CancelOrder)]` on `Deadline<PlaceOrder>` and give the handler to the service that tracks the saga: one commit \
          decides"]
    );
    let elsewhere = App::new("order")
        .service(service("order", handlers![order::confirm]))
        .remote(Remote::new("payment").tracks(Tracker::of::<PlaceOrder>()));
    assert!(elsewhere.check()[0].contains("does the pivot, and service `payment` tracks the saga"), "{:#?}", elsewhere.check());
}

/// An app can start in its own task, in parallel with other tasks of a program.
#[tokio::test]
async fn an_app_can_be_spawned() {
    let log = std::sync::Arc::new(sagas::transport::memory::Memory::new());
    let app = App::new("participant").service(inventory::service(&Database::memory(), &shop()));
    let handle = tokio::spawn(app.start(log.clone())).await.unwrap().unwrap();
    assert!(handle.stop().await);
    let app = App::new("participant").service(inventory::service(&Database::memory(), &shop()));
    let running = tokio::spawn(app.run(log));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
}
