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
/// # What it returns
/// What it publishes: `()`, an event, an enum of events, an `Option`, a `Vec` or a tuple of these; or a `Result` of that and a
/// [`Failure`](crate::Failure).
///
/// # Options
///
/// | option | meaning | default |
/// |---|---|---|
/// | `retry(max = 5, backoff = "200ms..30s")` | attempts in all, the first one included; the first and the longest wait between two | 10, `"200ms..30s"` |
/// | `timeout = "10s"` | how long one call may take | `"30s"` |
/// | `exhausted = path` | a fn that takes the same event, called when the message is given up | none |
/// | `on_dead = "hold"` | messages of the key wait until the dead letter is retried or discarded; `"release"`: they go on | `"release"` |
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
pub use saga_macros::saga;

/// The handlers named, each by its path, as an array for [`Service::handlers`](crate::Service::handlers).
///
/// A generic handler is named with its parameters.
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
    ($($handler:ty),* $(,)?) => {
        [$(<$handler as $crate::__private::HandlerDef>::handler()),*]
    };
}
