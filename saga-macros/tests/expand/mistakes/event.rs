//! An event with mistakes: it is still an event to the code around it.

#[event(topic = "new orders", key = oder_id)]
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

#[event]
pub enum OrderEvent {
    Created(OrderCreated),
    Unknown,
}
