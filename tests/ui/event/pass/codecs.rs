//! An event is encoded and decoded by the codec that it names, and then needs no other traits.

#![deny(warnings)]

use sagas::{
    Fault,
    message::{Decode, Encode, Event, Outgoing},
    prelude::*,
};

#[event(topic = "readings", key = sensor, codec = Packed, version = 2, upcast(1 => from_v1))]
#[derive(Debug, PartialEq)]
pub struct Reading {
    pub sensor: u8,
    pub celsius: i8,
}

pub struct Packed;

impl Encode<Reading> for Packed {
    const CONTENT_TYPE: &'static str = "application/octet-stream";

    fn encode(reading: &Reading) -> Result<Vec<u8>, Fault> {
        Ok(vec![reading.sensor, reading.celsius.to_be_bytes()[0]])
    }
}

impl Decode<Reading> for Packed {
    fn decode(value: &[u8]) -> Result<Reading, Fault> {
        match value {
            [sensor, celsius] => Ok(Reading { sensor: *sensor, celsius: i8::from_be_bytes([*celsius]) }),
            _ => Err(Fault::new(format!("{} bytes", value.len()))),
        }
    }
}

pub struct V1(u8);

impl Decode<V1> for Packed {
    fn decode(value: &[u8]) -> Result<V1, Fault> {
        value.first().copied().map(V1).ok_or_else(|| Fault::new("no bytes"))
    }
}

fn from_v1(old: V1) -> Reading {
    Reading { sensor: old.0, celsius: 0 }
}

#[event]
pub enum Heard {
    Reading(Reading),
}

#[handler]
async fn measure(On(heard): On<Heard>) -> Option<Reading> {
    let Heard::Reading(reading) = heard;
    Some(reading)
}

fn main() {
    let outgoing = Outgoing::of(&Reading { sensor: 7, celsius: -3 }).expect("is written");
    assert_eq!((&outgoing.value[..], outgoing.content_type, &*outgoing.key), (&[7, 253][..], "application/octet-stream", "7"));
    assert_eq!(Reading::read(&outgoing.value, 2).expect("is read"), Reading { sensor: 7, celsius: -3 });
    assert_eq!(Reading::read(&[9], 1).expect("is read"), Reading { sensor: 9, celsius: 0 });
    assert_eq!(Reading::read(&[], 2).expect_err("is none").to_string(), "the value is no Reading of version 2: 0 bytes");
    let _ = handlers![measure];
}
