//! Protobuf codecs.

use std::{any::type_name, marker::PhantomData};

use prost::Message;
use saga_core::{
    failure::Fault,
    message::{Decode, Encode},
};

use crate::{HasSchema, Registered, framed, unframed};

/// Plain Protobuf, without a registry.
#[derive(Debug)]
pub struct Protobuf;

impl<T: Message> Encode<T> for Protobuf {
    const CONTENT_TYPE: &'static str = "application/protobuf";

    fn encode(event: &T) -> Result<Vec<u8>, Fault> {
        Ok(event.encode_to_vec())
    }
}

impl<T: Message + Default> Decode<T> for Protobuf {
    fn decode(value: &[u8]) -> Result<T, Fault> {
        Ok(T::decode(value)?)
    }
}

/// Protobuf with a schema registry: the id of the schema and the index of the message in it come first. The schemas are those of `R`.
///
/// The event is the first message of its schema. To read an event of another schema, Protobuf does not need that schema, so the registry is
/// not asked.
#[derive(Debug)]
pub struct RegisteredProtobuf<R>(PhantomData<fn() -> R>);

impl<T: Message + HasSchema, R: Registered> Encode<T> for RegisteredProtobuf<R> {
    const CONTENT_TYPE: &'static str = "application/protobuf";

    fn encode(event: &T) -> Result<Vec<u8>, Fault> {
        let mut value = framed(R::schemas().own(T::SCHEMA, type_name::<T>())?.id);
        // The index of the first message: a list with the single index 0, in its short form.
        value.push(0);
        event.encode(&mut value)?;
        Ok(value)
    }
}

impl<T: Message + Default, R: Registered> Decode<T> for RegisteredProtobuf<R> {
    fn decode(value: &[u8]) -> Result<T, Fault> {
        let mut rest = unframed(value)?.rest;
        let cut_off = || Fault::new("the indexes of the message in its schema are cut off");
        let count = zigzag(&mut rest).ok_or_else(cut_off)?;
        for _ in 0..count {
            zigzag(&mut rest).ok_or_else(cut_off)?;
        }
        Ok(T::decode(rest)?)
    }
}

/// Takes a number in zigzag encoding from `rest`.
fn zigzag(rest: &mut &[u8]) -> Option<i64> {
    let number = prost::encoding::decode_varint(rest).ok()?;
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schemas;

    #[derive(Clone, PartialEq, Message)]
    struct Paid {
        #[prost(string, tag = "1")]
        order_id: String,
        #[prost(uint64, tag = "2")]
        cents: u64,
    }

    struct Ours;

    impl Registered for Ours {
        fn schemas() -> &'static Schemas {
            static SCHEMAS: Schemas = Schemas::new();
            &SCHEMAS
        }
    }

    #[test]
    fn the_place_of_the_message_is_passed_over_in_all_its_forms() {
        let paid = Paid { order_id: "7".to_owned(), cents: 1250 };
        // The index 0 in the short form; one index, 1; two indexes, 1 and 300.
        for indexes in [&[0][..], &[2, 2], &[4, 2, 0xd8, 0x04]] {
            let value = [&[0, 0, 0, 0, 9], indexes, &paid.encode_to_vec()].concat();
            let read: Paid = RegisteredProtobuf::<Ours>::decode(&value).unwrap_or_else(|fault| panic!("{fault}"));
            assert_eq!(read, paid);
        }
        let refused = |value: &[u8]| <RegisteredProtobuf<Ours> as Decode<Paid>>::decode(value).expect_err("is none").to_string();
        assert!(refused(&[0, 0, 0, 0, 9, 0x80]).contains("cut off"));
        assert!(refused(b"{}").contains("schema's id"));
    }
}
