use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = lines)]
#[derive(Serialize, Deserialize)]
struct OrderCreated {
    lines: Vec<String>,
}

fn main() {}
