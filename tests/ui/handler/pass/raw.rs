//! Raw records of the topic that the handler names.

#![deny(warnings)]

use sagas::{message::Raw, prelude::*};

type Anything = Raw;

#[handler(topic = "transfers")]
async fn transferred(On(_): On<Raw>) {}

#[handler(topic = "readings")]
async fn measured(_: Meta, On(_): On<Anything>) {}

#[handler(topic = "rates")]
async fn gathered(Batch(_): Batch<Raw>) {}

fn main() {
    let topics = handlers![transferred, measured, gathered].map(|handler| handler.accepts()[0].topic);
    assert_eq!(topics, ["transfers", "readings", "rates"]);
}
