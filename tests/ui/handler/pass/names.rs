//! Modules, visibility, raw identifiers, docs and `cfg`s: the macro does not change the fn, which is listed by its path.

#![deny(warnings, missing_docs)]

#[path = "../../contracts.rs"]
mod contracts;

/// What the inventory does.
pub mod inventory {
    use sagas::prelude::*;

    use crate::contracts::*;

    /// Puts the goods aside.
    #[handler]
    #[must_use]
    pub async fn reserve(On(order): On<OrderCreated>) -> InventoryReserved {
        InventoryReserved { order_id: order.order_id }
    }

    /// Named like a keyword.
    #[handler]
    pub(crate) async fn r#move(On(_): On<OrderCancelled>) {}

    /// Not there, however much of it does not compile.
    #[handler(exhausted = no_such_fn)]
    #[cfg(any())]
    pub async fn absent(On(_): On<NoSuchEvent>) {}

    /// There is one of these.
    #[handler]
    #[cfg(any())]
    pub async fn either(On(_): On<OrderCreated>) {}

    /// There is one of these.
    #[handler]
    #[cfg(not(any()))]
    pub async fn either(On(_): On<OrderCancelled>, _tx: Tx) {}

    pub(crate) mod deep {
        use super::*;

        #[handler]
        pub(in crate::inventory) async fn count(Batch(_): Batch<InventoryInsufficient>) {}
    }

    /// All of them.
    pub fn handlers() -> impl IntoIterator<Item = sagas::handler::Handler> {
        handlers![reserve, r#move, either, deep::count]
    }
}

use sagas::{extract::On, handlers};

fn main() {
    let names = |handlers: Vec<sagas::handler::Handler>| handlers.iter().map(|handler| handler.path()).collect::<Vec<_>>();
    let root = module_path!();
    assert_eq!(
        names(inventory::handlers().into_iter().collect()),
        ["reserve", "move", "either"]
            .iter()
            .map(|name| format!("{root}::inventory::{name}"))
            .chain([format!("{root}::inventory::deep::count")])
            .collect::<Vec<_>>()
    );

    // One import brings the fn and the item that represents its handler.
    use inventory::reserve;
    assert_eq!(names(handlers![reserve].into()).len(), 1);
    drop(reserve(On(contracts::OrderCreated { order_id: 1 })));

    // A handler can be defined where it is used, and a variable can have its name.
    #[sagas::handler]
    async fn local(On(_): On<contracts::OrderCreated>) {}
    let [local] = handlers![local];
    assert_eq!(local.options().name, "local");
}
