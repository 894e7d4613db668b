use sagas::prelude::*;

#[event]
enum OrderEvent {
    Created { order_id: String },
}

fn main() {}
