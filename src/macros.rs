//! The macros, documented here so that their examples are tested against this crate.

/// Makes a struct an event: a message with a topic, a key, a name and a version.
///
/// The struct is unchanged; the macro adds an implementation of [`Event`](crate::message::Event). Unless the event names another
/// `codec`, its value in the log is JSON, written by its own `Serialize` and read by its own `Deserialize`.
///
/// ```
/// use sagas::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[event(topic = "orders", key = order_id)]
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// pub struct OrderCreated {
///     pub order_id: u64,
///     pub customer: String,
/// }
///
/// assert_eq!((OrderCreated::NAME, OrderCreated::TOPIC, OrderCreated::VERSION), ("OrderCreated", "orders", 1));
/// ```
///
/// | option | meaning | default |
/// |---|---|---|
/// | `topic = "orders"` | the topic that the event is published to: 1 to 249 of `a-z A-Z 0-9 . _ -` | required |
/// | `key = order_id` | the field; its text is the record's key, and its type implements [`Display`](std::fmt::Display) | required |
/// | `key = order.id`, `key = order.id as OrderId` | a field inside another field; an event of a saga needs the `as` with the type | |
/// | `key = (tenant, order.id)` | several fields, joined by colons; a colon within a field is written as `%3A`, a percent sign as `%25` | |
/// | `name = "OrderCreated"` | the name in the record (`ce_type`), without spaces | the struct's name |
/// | `version = 2` | the version of the event's shape (`ce_schemaversion`), from 1 | `1` |
/// | `also = ["OrderPlaced"]` | previous names of the event: records with these names are read as this event | none |
/// | `upcast(1 => from_v1)` | functions that convert the shape of an earlier version to the next one, the last to the struct itself | none |
/// | `codec = Packed` | what writes and reads the value: a type with [`Encode`](crate::message::Encode) and [`Decode`](crate::message::Decode) | [`Json`](crate::message::Json) |
/// | `crate = path` | the path of the crate `sagas`, if you renamed it | `::sagas` |
///
/// A struct can be generic, if its parameters allow it to be written and read. All instantiations have the same name in records,
/// so a service can handle only one of them. An event owns its data: a struct with a lifetime is rejected.
///
/// # Delivery
/// Events with the same topic and key are delivered in the order in which they were published. There is no order between keys,
/// nor between topics.
///
/// # Changes
/// [Changing events](crate::guide::changing_events) in the guide lists how a struct can change, and which versions of a service
/// can then read which records. A function in `upcast` takes the shape of its version, which is any type with `Deserialize`. It
/// returns what the next function takes, and the last one returns the event. It can also return a `Result` of this; its error
/// makes the record a dead letter.
///
/// ```
/// # use sagas::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// #[event(topic = "payments", key = order_id, version = 2, also = ["Paid"], upcast(1 => with_currency))]
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// pub struct PaymentProcessed { pub order_id: u64, pub cents: u64, pub currency: String }
///
/// /// Version 1, in which all amounts were in euros.
/// #[derive(Deserialize)]
/// struct PaymentProcessedV1 { order_id: u64, cents: u64 }
///
/// fn with_currency(PaymentProcessedV1 { order_id, cents }: PaymentProcessedV1) -> PaymentProcessed {
///     PaymentProcessed { order_id, cents, currency: "EUR".to_owned() }
/// }
///
/// let old = PaymentProcessed::read(br#"{"order_id":7,"cents":1250}"#, 1)?;
/// assert_eq!(old, PaymentProcessed { order_id: 7, cents: 1250, currency: "EUR".to_owned() });
/// # Ok::<_, sagas::Fault>(())
/// ```
///
/// # Several events as one
/// On an enum with one event in each variant, the attribute makes a set of events, for a handler that takes, returns or refuses
/// with several events. The set is not an event itself: the record contains the event in the variant. Its only option is `crate`.
///
/// ```
/// # use sagas::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # #[event(topic = "orders", key = order_id)]
/// # #[derive(Debug, Clone, Serialize, Deserialize)]
/// # pub struct OrderConfirmed { pub order_id: u64 }
/// # #[event(topic = "orders", key = order_id)]
/// # #[derive(Debug, Clone, Serialize, Deserialize)]
/// # pub struct OrderCancelled { pub order_id: u64 }
/// #[event]
/// pub enum OrderEnded {
///     Confirmed(OrderConfirmed),
///     Cancelled(OrderCancelled),
/// }
///
/// #[handler]
/// async fn close(On(ended): On<OrderEnded>) {
///     match ended {
///         OrderEnded::Confirmed(order) => println!("{} is on its way", order.order_id),
///         OrderEnded::Cancelled(order) => println!("{} is not", order.order_id),
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # close(On(OrderEnded::Confirmed(OrderConfirmed { order_id: 7 }))).await;
/// # close(On(OrderEnded::Cancelled(OrderCancelled { order_id: 7 }))).await;
/// # assert_eq!(handlers![close].len(), 1);
/// # }
/// ```
pub use saga_macros::event;

/// Makes an async fn a handler.
///
/// The fn is unchanged and can be called, for example from a unit test. The macro adds a type with the name of the fn, from which
/// [`handlers!`](crate::handlers!) creates a [`Handler`](crate::handler::Handler); an import of the fn imports both. A module
/// with the same name in the same scope conflicts with that type.
///
/// ```
/// use sagas::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// # #[event(topic = "orders", key = order_id)]
/// # #[derive(Debug, Clone, Serialize, Deserialize)]
/// # pub struct OrderCreated { pub order_id: u64, pub quantity: u32 }
/// # #[event(topic = "inventory", key = order_id)]
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// # pub struct InventoryReserved { pub order_id: u64 }
/// # #[event(topic = "inventory", key = order_id)]
/// # #[derive(Debug, Clone, Serialize, Deserialize)]
/// # pub struct InventoryInsufficient { pub order_id: u64 }
/// /// The largest quantity that can be reserved.
/// #[derive(Clone)]
/// pub struct Shelf(u32);
///
/// #[handler(retry(max = 5, backoff = "200ms..30s"), timeout = "10s")]
/// async fn reserve(
///     On(order): On<OrderCreated>,
///     State(shelf): State<Shelf>,
/// ) -> Result<InventoryReserved, Failure<InventoryInsufficient>> {
///     if order.quantity > shelf.0 {
///         return Err(Failure::Reject(InventoryInsufficient { order_id: order.order_id }));
///     }
///     Ok(InventoryReserved { order_id: order.order_id })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let order = OrderCreated { order_id: 7, quantity: 2 };
/// let reserved = reserve(On(order), State(Shelf(10))).await;
/// assert!(matches!(reserved, Ok(InventoryReserved { order_id: 7 })));
///
/// let [handler] = handlers![reserve];
/// assert_eq!(handler.accepts()[0].name, "OrderCreated");
/// assert_eq!(handler.rejects()[0].name, "InventoryInsufficient");
/// # }
/// ```
///
/// # Arguments
/// A handler takes one [`On<E>`](crate::extract::On) or [`Batch<E>`](crate::extract::Batch), and any of [`Tx`](crate::store::Tx)
/// or [`Work`](crate::extract::Work), [`State<T>`](crate::extract::State), [`Meta`](crate::extract::Meta) and your own
/// extractors. It has at most eight arguments, all owned. `Tx` and `Work` exclude each other, and so do `Batch` and `Meta`;
/// `On<Raw>` and the option `topic` require each other. The compiler checks these rules at the attribute; what a generic fn hides
/// from it is checked when the app starts.
///
/// A handler that undoes a step takes [`Undo<E>`](crate::extract::Undo) instead, with the event that the step published. If the
/// step's handler takes `Work`, it takes `Undo<Option<E>>`: `None` means that an attempt was interrupted and its outcome is
/// unknown. A handler that aborts a saga `S` at its deadline takes `On<Deadline<S>>` ([`Deadline`](crate::saga::Deadline)).
///
/// # Return types
/// A handler returns what it publishes: `()`, an event, an enum of events, an `Option`, a `Vec` or a tuple of these; or a
/// `Result` of one of these and a [`Failure`](crate::Failure).
///
/// A handler of a step returns exactly what the saga declares:
///
/// | handler | takes | returns |
/// |---|---|---|
/// | `step` of a step | `On` of the step's `on` | its `emits`; with `rejects`, a `Result` of it and `Failure` of its `rejects`, or an enum of both |
/// | `step` of the pivot | `On` of its `on`, not `Work` | its `emits` |
/// | `step` of the abort | `On` of one of its `on`, of an enum of several, or of `Deadline<S>`; not `Work` | its `emits` |
/// | `undo` of a step | `Undo` of the step's `emits` | the `emits` of its `undo`, or an `Option` of it if there may be nothing to undo; it cannot refuse |
///
/// None of these handlers takes a `Batch` or has generic parameters, and each can return its events in a `Result<.., Failure>`. A
/// step has one handler; the abort has one for each event, cancel or deadline that leads to it. The absence of `Work` is checked
/// when the app starts.
///
/// # Options
///
/// | option | meaning | default |
/// |---|---|---|
/// | `retry(max = 5, backoff = "200ms..30s")` | the number of attempts, including the first; the first and the longest wait between two | 10, `"200ms..30s"` |
/// | `timeout = "10s"` | how long one call can take | `"30s"` |
/// | `exhausted = path` | a fn that takes the same event, called when the message is dead-lettered | none |
/// | `on_dead = "hold"` | later messages of the key wait until the dead letter is retried or discarded; with `"release"` they continue | `"release"` |
/// | `topic = "transfers"` | with `On<Raw>`: the topic of the records, which the handler takes as they are | none |
/// | `step = PlaceOrder::ReserveInventory` | the step of a [`saga`](macro@saga) that the handler does, or its abort | none |
/// | `undo = PlaceOrder::ReserveInventory` | the step that the handler undoes; the saga lists the events that trigger it | none |
/// | `crate = path` | the path of the crate `sagas`, if you renamed it | `::sagas` |
///
/// A duration is a whole number with its unit, `ms`, `s`, `m`, `h` or `d`, or several of these, longest first: `"1m30s"`.
///
/// # Delivery
/// The handler's writes through its `Tx` and the events that it returns commit in one transaction with the message, once for each
/// message. The fn itself can run more than once, so everything it does outside that transaction must be repeatable. Messages of
/// one key are handled in order, one at a time. The `exhausted` fn runs in the transaction that dead-letters the message, and can
/// write and publish there.
pub use saga_macros::handler;

/// Makes an enum a saga: a business transaction across services, with its steps and their compensations.
///
/// The variants are the steps, with names from the business, and one variant is the abort. The services react to each other's
/// events, as they would without the enum. The enum declares which of these reactions belong together, and everything that can be
/// checked about them is checked.
///
/// ```
/// use sagas::{prelude::*, saga::Chart};
/// # use serde::{Deserialize, Serialize};
/// # macro_rules! events {
/// #     ($($topic:literal: $($name:ident)+;)+) => {$($(
/// #         #[event(topic = $topic, key = order_id)]
/// #         #[derive(Debug, Clone, Serialize, Deserialize)]
/// #         pub struct $name { pub order_id: u64 }
/// #     )+)+};
/// # }
/// # events! {
/// #     "orders": OrderCreated OrderConfirmed OrderCancelled;
/// #     "inventory": InventoryReserved InventoryInsufficient InventoryReleased;
/// #     "payments": PaymentProcessed PaymentFailed PaymentRefunded;
/// # }
///
/// /// Reserve the goods, take the payment, confirm; or give everything back.
/// #[saga(key = u64, starts = OrderCreated, completes = OrderConfirmed, aborts = OrderCancelled, deadline = "15m")]
/// pub enum PlaceOrder {
///     /// Inventory puts the goods aside.
///     #[step(on = OrderCreated, emits = InventoryReserved, rejects = InventoryInsufficient,
///            undo(on(PaymentFailed, OrderCancelled), emits = InventoryReleased))]
///     ReserveInventory,
///     /// Payment charges the customer.
///     #[step(on = InventoryReserved, emits = PaymentProcessed, rejects = PaymentFailed,
///            undo(on = OrderCancelled, emits = PaymentRefunded), deadline = "5m")]
///     ProcessPayment,
///     /// One commit decides.
///     #[step(pivot, on = PaymentProcessed, emits = OrderConfirmed)]
///     ConfirmOrder,
///     /// Also what a cancel and the deadline lead to.
///     #[abort(on(InventoryInsufficient, InventoryReleased, cancel, deadline), emits = OrderCancelled)]
///     CancelOrder,
/// }
///
/// #[handler(step = PlaceOrder::ReserveInventory)]
/// async fn reserve(On(order): On<OrderCreated>) -> Result<InventoryReserved, Failure<InventoryInsufficient>> {
///     match order.order_id {
///         0 => Err(Failure::Reject(InventoryInsufficient { order_id: order.order_id })),
///         order_id => Ok(InventoryReserved { order_id }),
///     }
/// }
///
/// #[handler(undo = PlaceOrder::ReserveInventory)]
/// async fn release(Undo(held): Undo<InventoryReserved>) -> InventoryReleased {
///     InventoryReleased { order_id: held.order_id }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // A handler is an ordinary fn.
/// assert!(matches!(reserve(On(OrderCreated { order_id: 0 })).await, Err(Failure::Reject(_))));
/// assert_eq!(release(Undo(InventoryReserved { order_id: 7 })).await.order_id, 7);
///
/// // The definition is data: it is checked, tracked and drawn.
/// let saga = PlaceOrder::definition();
/// assert_eq!(saga.pivot().name, "ConfirmOrder");
/// assert_eq!(saga.events().len(), 9);
/// assert!(Chart::of(saga).state_diagram().starts_with("stateDiagram-v2"));
///
/// // Each step has one handler. A missing one is reported before anything starts.
/// let inventory = Service::new("inventory", Database::memory()).handlers(handlers![reserve, release]);
/// let problems = App::new("shop").saga::<PlaceOrder>().service(inventory).check();
/// assert!(problems.iter().any(|problem| problem.contains("no handler does PlaceOrder::ProcessPayment")));
/// # }
/// ```
///
/// # Options of `#[saga]`
///
/// | option | meaning | default |
/// |---|---|---|
/// | `key = OrderId` | the type of the key that all its events share; its text identifies an instance | required |
/// | `starts = OrderCreated` | the event that begins an instance, published by the service that tracks the saga | required |
/// | `completes = OrderConfirmed` | the event of a completed instance: the `emits` of the pivot or of a step after it | required |
/// | `aborts = OrderCancelled` | the event of an aborted instance: the `emits` of the abort | required |
/// | `deadline = "15m"` | how long an instance can be undecided, and how long the steps after the decision can take | required |
/// | `version = 2` | the version of the saga's shape, from 1; an instance keeps the version with which it began | `1` |
/// | `name = "PlaceOrder"` | the name in databases, paths and labels: 1 to 100 of `a-z A-Z 0-9 . _ -` | the enum's name |
/// | `crate = path` | the path of the crate `sagas`, if you renamed it | `::sagas` |
///
/// # Options of `#[step]`
///
/// | option | meaning | default |
/// |---|---|---|
/// | `on = OrderCreated` | the one event that triggers the step: the start, or the `emits` of another step | required |
/// | `emits = InventoryReserved` | the event that the step is done | required |
/// | `rejects = InventoryInsufficient` | the event that the step is refused; not for the pivot or a step after it | none |
/// | `undo(on = .., emits = ..)`, `undo(on(.., ..), emits = ..)` | the events that trigger its compensation (refusals of later steps, `emits` of other compensations, the abort's event), and the event that is published when it is undone | required before the pivot, or `no_undo` |
/// | `no_undo` | the step needs no compensation; only before the pivot | |
/// | `pivot` | the commit of this step decides that the saga completes; one step has it | |
/// | `deadline = "5m"` | how long the step can take, from the time when the tracker sees its `on`; at most the deadline of the saga | none |
///
/// # Options of `#[abort]`
///
/// | option | meaning | default |
/// |---|---|---|
/// | `on(InventoryInsufficient, InventoryReleased, cancel, deadline)` | what aborts the saga: refusals, `emits` of compensations, [`UnitOfWork::abort`](crate::UnitOfWork::abort) (`cancel`), a deadline that passes before the decision (`deadline`) | required |
/// | `emits = OrderCancelled` | the event that the instance is aborted | required |
///
/// The first paragraph of the documentation of the enum and of each variant is its description in the diagrams.
///
/// # Checks at compile time
/// - There is one pivot and one abort. Each event has one meaning, and is published within the saga.
/// - The steps from the start to the pivot follow one another. Steps after the pivot can fork. There are no joins, alternatives
///   or loops.
/// - Each step before the pivot has `undo` or `no_undo`. The pivot and the steps after it cannot be refused or undone.
/// - If a step is refused, all steps before it are undone and the abort is reached. If a cancel or the deadline comes before the
///   decision, all done steps are undone.
/// - All events have the key type of the saga. Each event is written with the same path everywhere.
/// - A handler of a step takes the event that triggers the step, and returns what the step publishes: see
///   [`handler`](macro@handler).
///
/// All mistakes are reported together, each at its place, except those that only follow from others. The enum is emitted in any
/// case. The rest is checked when the app starts: which service tracks the saga, which services do and undo each step, whether
/// the pivot, the abort and the tracker are in one service, and, with [`App::saga`](crate::App::saga), whether every event that
/// is published is handled.
///
/// [`Failure::Reject`](crate::Failure::Reject) rolls back the handler's writes. If a *no* must keep its writes, return it as an
/// event instead, in an enum of the step's `emits` and `rejects`.
///
/// # Delivery
/// A service records what it does in a step in the transaction of the delivery, once for each instance and step. From this step
/// record, a compensation gets the event that the step published. A second message for the step has no effect, even with another
/// message id. A compensation that comes before its step bars the step; its handler is not called and it publishes nothing, so
/// nothing must wait for its event. There is no order between topics, so all of this holds for every order of an instance's
/// events.
///
/// The pivot, the abort, a cancel and the deadline use these records in the database of one service: the first of them that
/// commits decides, and the others have no effect. An abort happens once. An instance has ended when its end event is published
/// and each step that was done is either final or undone. An instance that cannot continue *needs attention*.
///
/// The transaction locks its instances before it calls the handlers, in a fixed order.
pub use saga_macros::saga;

/// Creates an array of the named handlers for [`Service::handlers`](crate::Service::handlers).
///
/// Each handler is named by its path, a generic handler with its type parameters. No local variable in scope can have the name of
/// a listed handler.
///
/// ```
/// use sagas::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # #[event(topic = "orders", key = order_id)]
/// # #[derive(Debug, Clone, Serialize, Deserialize)]
/// # pub struct OrderCancelled { pub order_id: u64 }
///
/// mod stock {
/// #   use serde::{Deserialize, Serialize};
/// #   #[sagas::event(topic = "orders", key = order_id)]
/// #   #[derive(Debug, Clone, Serialize, Deserialize)]
/// #   pub struct OrderCreated { pub order_id: u64 }
///     use sagas::prelude::*;
///
///     #[handler]
///     pub async fn reserve(On(_order): On<OrderCreated>) {}
/// }
///
/// #[handler]
/// async fn log<E: Event>(On(_event): On<E>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(handlers![stock::reserve, log::<OrderCancelled>].len(), 2);
/// # stock::reserve(On(stock::OrderCreated { order_id: 7 })).await;
/// # log(On(OrderCancelled { order_id: 7 })).await;
/// # }
/// ```
#[macro_export]
macro_rules! handlers {
    // `#[handler]` adds a type with the name of the fn. If there is no such type, the name resolves to the import of `NoHandler`,
    // and the compiler's error names the fn.
    ($($($segment:ident)::+),* $(,)?) => {
        [$({
            #[allow(unused_imports)]
            use $crate::__private::NoHandler as __SagasHandler;
            {
                #[allow(unused_imports)]
                use $($segment)::+ as __SagasHandler;
                $crate::__listed!(__SagasHandler, $($segment)::+)
            }
        }),*]
    };
    ($($handler:ty),* $(,)?) => {
        [$(<$handler as $crate::__private::HandlerDef>::handler()),*]
    };
}

/// A fn in `handlers![..]` as a single expression, which the compiler's errors point to.
#[doc(hidden)]
#[macro_export]
macro_rules! __listed {
    ($handler:ident, $function:expr) => {
        $crate::__private::listed::<$handler, _>($function)
    };
}
