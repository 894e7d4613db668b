use sagas::{Fault, message::Decode, prelude::*};

#[event(topic = "readings", key = sensor, codec = Packed)]
struct Reading {
    sensor: u8,
}

struct Packed;

impl Decode<Reading> for Packed {
    fn decode(value: &[u8]) -> Result<Reading, Fault> {
        value.first().map(|sensor| Reading { sensor: *sensor }).ok_or_else(|| Fault::new("no byte"))
    }
}

fn main() {}
