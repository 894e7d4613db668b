//! Errors in a saga are found before anything is consumed: all of them, each with its fix.

use sagas::{
    handler::{Handler, HandlerOptions},
    prelude::*,
    testing::Pump,
};
use serde::{Deserialize, Serialize};

use crate::{
    gated::{Gated, Queue},
    shop::{
        Cancelled, Confirmed, Created, Declined, Insufficient, Paid, PlaceOrder, Refunded, Released, Reserved, Shop,
        books::Status, conduct::Point, inventory, order, payment,
    },
    stage::Site,
};

/// The handlers of each service.
struct Cast {
    order: Vec<Handler>,
    inventory: Vec<Handler>,
    payment: Vec<Handler>,
    order_tracks: bool,
    payment_tracks: bool,
}

impl Cast {
    /// Returns a correct app.
    fn sound() -> Self {
        Self {
            order: handlers![order::note_reserved, order::confirm, order::cancel_refused, order::cancel_overdue].to_vec(),
            inventory: handlers![inventory::reserve, inventory::release].to_vec(),
            payment: handlers![payment::pay, payment::refund].to_vec(),
            order_tracks: true,
            payment_tracks: false,
        }
    }

    fn services(self) -> [Service; 3] {
        let shop = Shop::with_stock(10);
        let service = |name: &str, handlers: Vec<Handler>, tracks: bool| {
            let service = Service::new(name, Database::memory()).state(shop.clone()).handlers(handlers);
            if tracks { service.tracks(Tracker::of::<PlaceOrder>()) } else { service }
        };
        [
            service("order", self.order, self.order_tracks),
            service("inventory", self.inventory, false),
            service("payment", self.payment, self.payment_tracks),
        ]
    }

    fn app(self) -> App {
        App::new("shop").services(self.services())
    }

    fn problems(self) -> Vec<String> {
        self.app().check()
    }

    /// Returns the errors of an app that declares that it contains the whole saga.
    fn problems_as_a_whole(self) -> Vec<String> {
        self.app().saga::<PlaceOrder>().check()
    }
}

fn without(handlers: &[Handler], name: &str) -> Vec<Handler> {
    let kept: Vec<_> = handlers.iter().filter(|handler| handler.options().name != name).cloned().collect();
    assert!(kept.len() < handlers.len(), "there is no handler `{name}`");
    kept
}

#[test]
fn a_sound_app_has_no_problems() {
    assert_eq!(Cast::sound().problems(), Vec::<String>::new());
    assert_eq!(Cast::sound().problems_as_a_whole(), Vec::<String>::new());
}

#[test]
fn a_step_without_a_handler() {
    let sound = Cast::sound();
    let problems = Cast { payment: without(&sound.payment, "pay"), ..sound }.problems_as_a_whole();
    assert_eq!(
        problems,
        [
            "saga `PlaceOrder`: no handler does PlaceOrder::TakePayment; write `#[handler(step = PlaceOrder::TakePayment)]` and give \
          the handler to its service, or declare the service that runs elsewhere with `App::remote`"
        ]
    );
}

#[test]
fn a_step_with_two_handlers() {
    let sound = Cast::sound();
    let payment = [sound.payment.clone(), handlers![inventory::reserve].to_vec()].concat();
    let problems = Cast { payment, ..sound }.problems();
    assert_eq!(
        problems,
        ["saga `PlaceOrder`: `sagas::shop::inventory::reserve` of service `inventory` and `sagas::shop::inventory::reserve` of \
          service `payment` each does PlaceOrder::ReserveStock; keep one"]
    );
}

#[test]
fn a_step_whose_undo_has_no_handler() {
    let sound = Cast::sound();
    let problems = Cast { inventory: without(&sound.inventory, "release"), ..sound }.problems_as_a_whole();
    assert_eq!(
        problems,
        [
            "saga `PlaceOrder`: no handler undoes PlaceOrder::ReserveStock; write `#[handler(undo = PlaceOrder::ReserveStock)]` and \
          give the handler to its service, or declare the service that runs elsewhere with `App::remote`"
        ]
    );
}

#[test]
fn an_undo_in_another_service_than_its_step() {
    let sound = Cast::sound();
    let release: Vec<_> = sound.inventory.iter().filter(|handler| handler.options().name == "release").cloned().collect();
    let warehouse = Service::new("warehouse", Database::memory()).state(Shop::with_stock(1)).handlers(release);
    let problems = Cast { inventory: without(&sound.inventory, "release"), ..sound }.app().service(warehouse).check();
    assert_eq!(
        problems,
        ["saga `PlaceOrder`: `sagas::shop::inventory::reserve` of service `inventory` does PlaceOrder::ReserveStock and \
          `sagas::shop::inventory::release` of service `warehouse` undoes it; what a step left behind is in the database of the \
          service that did it, so both belong in one service"]
    );
}

#[test]
fn a_flow_that_nobody_tracks() {
    let problems = Cast { order_tracks: false, ..Cast::sound() }.problems_as_a_whole();
    assert_eq!(
        problems,
        ["saga `PlaceOrder`: no service tracks it; add `.tracks(Tracker::of::<PlaceOrder>())` to the one that publishes \
          Created, or declare that service with `App::remote`"]
    );
}

#[test]
fn a_flow_that_two_services_track() {
    let problems = Cast { payment_tracks: true, ..Cast::sound() }.problems();
    assert_eq!(problems, ["saga `PlaceOrder`: it is tracked by `order` and `payment`; one service keeps its instances"]);
}

#[test]
fn a_pivot_and_an_abort_in_another_service_than_the_tracker() {
    let problems = Cast { order_tracks: false, payment_tracks: true, ..Cast::sound() }.problems();
    let [pivot, refused, overdue] = &problems[..] else { panic!("{problems:#?}") };
    assert_eq!(
        pivot,
        "saga `PlaceOrder`: `sagas::shop::order::confirm` of service `order` does the pivot, and service `payment` tracks the saga; one \
         commit decides between pivot, cancel and deadline, so both belong in one service"
    );
    for (abort, handler) in [(refused, "cancel_refused"), (overdue, "cancel_overdue")] {
        assert_eq!(
            *abort,
            format!(
                "saga `PlaceOrder`: `sagas::shop::order::{handler}` of service `order` aborts the saga, and another service tracks it; one \
                 commit decides, so both belong in one service"
            )
        );
    }
}

#[test]
fn an_abort_without_a_handler_for_its_deadline() {
    let sound = Cast::sound();
    let problems = Cast { order: without(&sound.order, "cancel_overdue"), ..sound }.problems_as_a_whole();
    assert_eq!(
        problems,
        ["saga `PlaceOrder`: no handler does PlaceOrder::CancelOrder when the deadline has passed; write \
          `#[handler(step = PlaceOrder::CancelOrder)]` on `Deadline<PlaceOrder>` and give the handler to its service, or declare \
          the service that runs elsewhere with `App::remote`"]
    );
}

/// Takes the event that it undoes, although it can be called when there is none.
#[handler(undo = PlaceOrder::TakePayment)]
async fn refund_what_was_paid(Undo(paid): Undo<Paid>) -> Result<Refunded, Failure> {
    Ok(Refunded { id: paid.id, amount: paid.amount })
}

#[test]
fn a_step_that_calls_out_whose_undo_takes_what_is_not_known() {
    let sound = Cast::sound();
    let payment = [without(&sound.payment, "refund"), handlers![refund_what_was_paid].to_vec()].concat();
    let problems = Cast { payment, ..sound }.problems();
    assert_eq!(
        problems,
        [
            "saga `PlaceOrder`: `sagas::shop::payment::pay` of service `payment` calls another system, so that an attempt may end before its \
          result is known: let `sagas::startup::refund_what_was_paid` of service `payment` take `Undo<Option<Paid>>`"
        ]
    );
}

#[test]
fn a_step_that_is_done_by_the_batch() {
    let sound = Cast::sound();
    let batch = async |_: Batch<Created>| -> Result<Vec<Reserved>, Failure<Insufficient>> { Ok(Vec::new()) };
    let batch = Handler::new(HandlerOptions::new("reserve_all", "shop"), batch)
        .step::<PlaceOrder, Created, { PlaceOrder::ReserveStock as usize }>();
    let inventory = [without(&sound.inventory, "reserve"), vec![batch]].concat();
    let problems = Cast { inventory, ..sound }.problems();
    assert_eq!(
        problems,
        ["saga `PlaceOrder`: `shop::reserve_all` of service `inventory` takes a `Batch`; a step is done message by message: \
          take `On<Created>`"]
    );
}

#[event(topic = "parcels", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Packed {
    id: u64,
}

#[handler]
async fn pack(On(confirmed): On<Confirmed>) -> Packed {
    Packed { id: confirmed.id }
}

#[handler]
async fn unpack(On(_): On<Packed>) {}

#[test]
fn an_event_that_nobody_takes() {
    let sound = Cast::sound();
    let payment = [sound.payment.clone(), handlers![pack].to_vec()].concat();
    let cast = || Cast { payment: payment.clone(), ..Cast::sound() };
    assert_eq!(
        cast().problems_as_a_whole(),
        [
            "Packed is published by `sagas::startup::pack`, and no service takes it; handle it, or declare with `App::outside::<Packed>()` \
          that other systems do"
        ]
    );
    assert_eq!(cast().app().saga::<PlaceOrder>().outside::<Packed>().check(), Vec::<String>::new());
    assert_eq!(cast().problems(), Vec::<String>::new(), "an app that does not say that it is whole");
}

#[test]
fn a_handler_that_waits_for_what_nobody_publishes() {
    let sound = Cast::sound();
    let inventory = [sound.inventory.clone(), handlers![unpack].to_vec()].concat();
    let cast = || Cast { inventory: inventory.clone(), ..Cast::sound() };
    assert_eq!(
        cast().problems_as_a_whole(),
        [
            "`sagas::startup::unpack` of service `inventory` waits for Packed, which no service publishes; declare with `Service::publishes` \
          that a service does outside a handler, or with `App::outside::<Packed>()` that other systems do"
        ]
    );
    let [order, inventory, payment] = cast().services();
    let app = App::new("shop").services([order, inventory, payment.publishes::<Packed>()]).saga::<PlaceOrder>();
    assert_eq!(app.check(), Vec::<String>::new());
}

mod another {
    //! Another saga with the same name.

    use super::*;

    #[saga(key = u64, starts = Created, completes = Confirmed, aborts = Cancelled, deadline = "1h", name = "PlaceOrder")]
    pub enum OrderInAnHour {
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

#[test]
fn two_flows_of_one_name() {
    let problems = Cast::sound().app().saga::<another::OrderInAnHour>().check();
    assert_eq!(problems[0], "two different sagas are called `PlaceOrder`; give one another `name`");
}

/// Returns the payment service, as run by another process.
fn remote_payment() -> Remote {
    Remote::new("payment").handlers(handlers![payment::pay, payment::refund])
}

#[test]
fn a_service_that_runs_elsewhere_makes_the_flow_whole() {
    let app = || {
        let [order, inventory, _] = Cast::sound().services();
        App::new("shop").services([order, inventory]).saga::<PlaceOrder>()
    };
    let problems = app().check();
    assert!(problems.iter().any(|problem| problem.contains("no handler does PlaceOrder::TakePayment")), "{problems:#?}");
    assert_eq!(app().remote(remote_payment()).check(), Vec::<String>::new());
}

#[test]
fn a_service_that_runs_here_and_elsewhere() {
    assert_eq!(
        Cast::sound().app().remote(remote_payment()).check()[0],
        "service `payment` runs here and is declared as remote, or is declared twice; a name is a consumer group, keep one"
    );
}

#[test]
fn several_mistakes_are_told_at_once() {
    let sound = Cast::sound();
    let (order, inventory) = (without(&sound.order, "cancel_overdue"), without(&sound.inventory, "release"));
    let problems = Cast { order, inventory, order_tracks: false, ..sound }.problems_as_a_whole();
    for said in ["no service tracks it", "no handler undoes PlaceOrder::ReserveStock", "when the deadline has passed"] {
        assert_eq!(problems.iter().filter(|problem| problem.contains(said)).count(), 1, "{said}: {problems:#?}");
    }
}

#[tokio::test]
async fn an_app_with_a_mistake_consumes_nothing() {
    const CREATED: Queue = ("inventory", "orders");
    let log = Gated::new([CREATED]);
    let site = Site::on(log.clone(), 10);
    let stage = site.open().await;
    stage.place(7, 1, 30).await;
    stage.pump.run_until_quiet().await;
    stage.pump.stop().await;
    log.open(CREATED);

    let [order, inventory, _] = site.services();
    let pump = Pump::of([order, inventory]).on(site.log.clone()).clock(site.clock.clone()).saga::<PlaceOrder>();
    let Err(error) = pump.try_start(&[]).await else { panic!("it has started") };
    assert_eq!(error.problems.len(), 2, "{error}");
    assert!(
        error.to_string().starts_with("the app `test` cannot start:\nsaga `PlaceOrder`: no handler does PlaceOrder::TakePayment")
    );
    assert_eq!(site.shop.conduct.calls(Point::Reserve), 0);

    let stage = site.open().await;
    stage.pump.run_until_quiet().await;
    assert_eq!(stage.books().status(7), Some(Status::Confirmed));
}
