//! A handler with mistakes: it is still a handler to the code around it.

#[handler(timeout = "soon", retries = 3)]
pub async fn reserve(On(order): On<OrderCreated>) -> InventoryReserved {
    InventoryReserved::of(&order)
}
