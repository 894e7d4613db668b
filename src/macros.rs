//! The macros, documented here so that their examples are tested against this crate.

/// Makes a struct an event: a message with a topic, a key, a name and a version.
///
/// The struct stays as it is; an implementation of [`Event`](crate::message::Event) is added. It is written to the log as JSON
/// by its own `Serialize`, and read back by its own `Deserialize`.
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
/// | `topic = "orders"` | the topic that carries it: 1 to 249 of `a-z A-Z 0-9 . _ -` | required |
/// | `key = order_id` | the field whose text is the record's key; its type implements [`Display`](std::fmt::Display) | required |
/// | `name = "OrderCreated"` | the name on the wire (`ce_type`), without spaces | the struct's name |
/// | `version = 2` | the version of its shape (`ce_schemaversion`), from 1 | `1` |
/// | `crate = path` | where this crate is, if it was renamed | `::sagas` |
///
/// A struct may be generic, wherever its parameters let it be written and read. All choices of the parameters have one name on
/// the wire, so a service handles one of them. An event owns its data: a lifetime is refused.
///
/// # Delivery
/// Events of one topic with the same key are delivered in the order in which they were published. Nothing holds between keys,
/// nor between topics.
///
/// # Several events as one
/// On an enum with one event in each variant the attribute makes a set of events, for a handler that takes, returns or refuses
/// by several. It is no event of its own: on the wire there is the event in the variant. It has no option but `crate`.
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
/// # let _ = handlers![close];
/// ```
pub use saga_macros::event;

/// Makes an async fn a consumer of events.
///
/// The fn stays as it is and can be called, from a unit test for example. A type of the same name is added, which
/// [`handlers!`](crate::handlers!) makes a [`Handler`](crate::handler::Handler) of; an import of the fn brings both. A module of
/// the same name in the same place is therefore one too many.
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
/// /// How much there is at most.
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
/// One [`On<E>`](crate::extract::On) or [`Batch<E>`](crate::extract::Batch), and besides it any of [`Tx`](crate::store::Tx) or
/// [`Work`](crate::extract::Work), [`State<T>`](crate::extract::State) and [`Meta`](crate::extract::Meta), and extractors of your
/// own; eight at most, all owned. `Tx` and `Work` exclude each other, and so do `Batch` and `Meta`. The compiler checks this where the
/// attribute is; what a generic fn hides from it is checked when the app starts.
///
/// A handler that undoes a step takes [`Undo<E>`](crate::extract::Undo) instead, the event that the step has published; or
/// `Undo<Option<E>>` if the step's handler takes `Work`: `None` says that an attempt was cut off, and nobody knows what came of it. One
/// that gives a flow `S` up when its deadline has passed takes `On<Deadline<S>>` ([`Deadline`](crate::saga::Deadline)).
///
/// # What it returns
/// What it publishes: `()`, an event, an enum of events, an `Option`, a `Vec` or a tuple of these; or a `Result` of that and a
/// [`Failure`](crate::Failure).
///
/// A handler with a part in a flow returns what the flow says, and nothing besides:
///
/// | it is | it takes | it returns |
/// |---|---|---|
/// | `step` of a step | `On` of the step's `on` | its `emits`; with `rejects`, a `Result` of it and `Failure` of its `rejects`, or an enum of both |
/// | `step` of the pivot | `On` of its `on`, not `Work` | its `emits` |
/// | `step` of the abort | `On` of one of its `on`, of an enum of several, or of `Deadline<S>`; not `Work` | its `emits` |
/// | `undo` of a step | `Undo` of the step's `emits` | the `emits` of its `undo`, or an `Option` of it where there may be nothing to undo; it cannot refuse |
///
/// None of them takes a `Batch` or has parameters, and each may return its events in a `Result<.., Failure>`. A step is done by one handler;
/// the abort has one for each of what leads to it. That there is no `Work` is checked when the app starts.
///
/// # Options
///
/// | option | meaning | default |
/// |---|---|---|
/// | `retry(max = 5, backoff = "200ms..30s")` | attempts in all, the first one included; the first and the longest wait between two | 10, `"200ms..30s"` |
/// | `timeout = "10s"` | how long one call may take | `"30s"` |
/// | `exhausted = path` | a fn that takes the same event, called when the message is given up | none |
/// | `on_dead = "hold"` | messages of the key wait until the dead letter is retried or discarded; `"release"`: they go on | `"release"` |
/// | `step = PlaceOrder::ReserveInventory` | it does this step of a [`saga`](macro@saga), or gives the flow up, if this is its abort | none |
/// | `undo = PlaceOrder::ReserveInventory` | it undoes this step; the events that call for it are in the flow | none |
/// | `crate = path` | where this crate is, if it was renamed | `::sagas` |
///
/// A duration is a whole number with its unit, `ms`, `s`, `m`, `h` or `d`, or several of these, longest first: `"1m30s"`.
///
/// # Delivery
/// What the handler writes by its `Tx` and what it returns commit in one transaction with the message, once per message. The fn
/// itself may run more often: whatever it does outside that transaction has to bear a repetition. Messages of one key are
/// handled in order, one at a time. The `exhausted` fn runs in the transaction that dead-letters the message, and may write and
/// publish there.
pub use saga_macros::handler;

/// Makes an enum a saga: a flow across services, its steps and what undoes them.
///
/// The variants are the steps, in the words of the business, and one of them is the abort. Services react to each other's events, as
/// they do without it; the enum says which of those reactions belong together, and everything that can be checked of that is checked.
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
/// // Handlers are fns as ever.
/// assert_eq!(release(Undo(InventoryReserved { order_id: 7 })).await.order_id, 7);
///
/// // The flow is data: it is checked, tracked and drawn.
/// let flow = PlaceOrder::definition();
/// assert_eq!(flow.pivot().name, "ConfirmOrder");
/// assert_eq!(flow.events().len(), 9);
/// assert!(Chart::of(flow).state_diagram().starts_with("stateDiagram-v2"));
///
/// // A step has one handler: what is missing is said before anything starts.
/// let inventory = Service::new("inventory", Database::memory()).handlers(handlers![reserve, release]);
/// let problems = App::new("shop").saga::<PlaceOrder>().service(inventory).check();
/// assert!(problems.iter().any(|problem| problem.contains("nobody does PlaceOrder::ProcessPayment")));
/// # }
/// ```
///
/// # Options of `#[saga]`
///
/// | option | meaning | default |
/// |---|---|---|
/// | `key = OrderId` | the type of the key that all its events share; its text identifies an instance | required |
/// | `starts = OrderCreated` | the event that begins an instance, published by the service that tracks the flow | required |
/// | `completes = OrderConfirmed` | the event that says it succeeded: the `emits` of the pivot or of a step after it | required |
/// | `aborts = OrderCancelled` | the event that says it came to nothing: the `emits` of the abort | required |
/// | `deadline = "15m"` | how long an instance may be undecided, and, once it is decided, how long what follows may take | required |
/// | `version = 2` | the version of its shape, from 1: an instance is kept with the one in which it began | `1` |
/// | `name = "PlaceOrder"` | the name in databases, paths and labels: 1 to 100 of `a-z A-Z 0-9 . _ -` | the enum's name |
/// | `crate = path` | where this crate is, if it was renamed | `::sagas` |
///
/// # Options of `#[step]`
///
/// | option | meaning | default |
/// |---|---|---|
/// | `on = OrderCreated` | the one event that calls for it: the start, or the `emits` of another step | required |
/// | `emits = InventoryReserved` | the event that says it was done | required |
/// | `rejects = InventoryInsufficient` | the event that says it was refused; not of the pivot, nor after it | none |
/// | `undo(on = .., emits = ..)`, `undo(on(.., ..), emits = ..)` | what calls for its compensation (refusals of later steps, what other undos publish, the abort's event), and the event that says it was undone | required before the pivot, or `no_undo` |
/// | `no_undo` | nothing has to be undone; only before the pivot | |
/// | `pivot` | its commit decides that the flow succeeds; one step has it | |
/// | `deadline = "5m"` | how long it may take from when its `on` is known to the tracker; at most that of the flow | none |
///
/// # Options of `#[abort]`
///
/// | option | meaning | default |
/// |---|---|---|
/// | `on(InventoryInsufficient, InventoryReleased, cancel, deadline)` | what gives the flow up: refusals, what undos publish, [`UnitOfWork::abort`](crate::UnitOfWork::abort) (`cancel`), a deadline that passes before the decision (`deadline`) | required |
/// | `emits = OrderCancelled` | the event that says it was given up | required |
///
/// The first paragraph of the documentation of the enum and of each variant says what it is for, in the flow's pictures.
///
/// # What is checked while compiling
/// - There is one pivot and one abort; each event says one thing, and is published inside the flow.
/// - The steps lead in one line from the start to the pivot. Those after the pivot may fork. There is no join, no alternative, no loop.
/// - Each step before the pivot has an `undo` or says `no_undo`; none after it can be refused or undone.
/// - Whichever step is refused, what was done before is undone and the abort is reached. Whenever a cancel or the deadline comes before
///   the decision, what was done is undone.
/// - All events have the saga's key type. Each is written by one path everywhere.
/// - A handler that claims a step takes what calls for it and returns what it publishes: see [`handler`](macro@handler).
///
/// Mistakes are reported together, each where it is, but for those that only follow from others; and the enum is emitted in any case. The
/// rest is checked when the app starts: who tracks the flow, who does each step and undoes it, whether the pivot, the abort and the
/// tracker are in one service, and, for [`App::saga`](crate::App::saga), whether everything that is published is heard.
///
/// A *no* whose writes have to stay is no refusal: return it as an event, by an enum of the step's `emits` and `rejects`, instead of
/// [`Failure::Reject`](crate::Failure::Reject), which undoes what the handler has written.
///
/// # Delivery
/// What a service does at a step is recorded in the delivery's transaction, once per service, instance and step. From that record a
/// compensation gets what the step left behind, and a second message for the step has no effect, under whatever id it comes. A
/// compensation that comes before its step leaves a mark that bars the step, publishes nothing and is not called; so nothing may wait for
/// it. Between topics there is no order, so all of this holds in whatever order the events of an instance come.
///
/// The pivot, the abort, a cancel and the deadline are decided by those records in one service, in one transaction, so that one of them is
/// first and the others have no effect. An abort happens once. An instance has ended when its end event is there and each step that was
/// done before is done for good or undone; what cannot go on is shown as *needs attention*.
///
/// The transaction locks its instances before the handlers are called, all of them in one order.
pub use saga_macros::saga;

/// The handlers named, each by its path, as an array for [`Service::handlers`](crate::Service::handlers).
///
/// A generic handler is named with its parameters. No local variable may have the name of a handler that is listed there.
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
/// assert_eq!(handlers![stock::reserve, log::<OrderCancelled>].len(), 2);
/// ```
#[macro_export]
macro_rules! handlers {
    // What `#[handler]` adds to a fn is a type of its name. Where there is none, the name as a type is the one imported first, and what
    // is said of that names the fn.
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

/// A fn in `handlers![..]`, as one expression, which is where the compiler points to.
#[doc(hidden)]
#[macro_export]
macro_rules! __listed {
    ($handler:ident, $function:expr) => {
        $crate::__private::listed::<$handler, _>($function)
    };
}
