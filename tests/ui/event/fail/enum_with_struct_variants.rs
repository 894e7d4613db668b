use sagas::prelude::*;

#[event]
enum OrderEvent {
    Created { order_id: String },
    Cancelled { order_id: String },
    Sent { order_id: String, address: String },
}

fn main() {}
