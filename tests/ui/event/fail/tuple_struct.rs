use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = 0)]
#[derive(Serialize, Deserialize)]
struct OrderCreated(u64, u64);

fn main() {}
