//! Avro codec.

mod datum;

use std::{any::type_name, marker::PhantomData};

use apache_avro::{Schema, from_avro_datum, from_value, to_avro_datum, to_value};
use saga_core::{
    failure::Fault,
    message::{Decode, Encode},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Framed, HasSchema, OwnedSchema, Registered, SchemaKind, framed, unframed};

/// Avro with a schema registry: the id of the schema comes first. The schemas are those of `R`.
///
/// An event is written with its own schema, and read with the schema that it was written with. Serde handles the fields as with JSON:
/// unknown ones are ignored, and `#[serde(default)]` adds missing ones.
#[derive(Debug)]
pub struct Avro<R>(PhantomData<fn() -> R>);

impl<T: Serialize + HasSchema, R: Registered> Encode<T> for Avro<R> {
    const CONTENT_TYPE: &'static str = "avro/binary";

    fn encode(event: &T) -> Result<Vec<u8>, Fault> {
        let own = R::schemas().own(T::SCHEMA, type_name::<T>())?;
        let mut value = framed(own.id);
        let schema = own.parsed(parse)?;
        value.extend(to_avro_datum(schema, to_value(event)?.resolve(schema)?)?);
        Ok(value)
    }
}

impl<T: DeserializeOwned, R: Registered> Decode<T> for Avro<R> {
    fn decode(value: &[u8]) -> Result<T, Fault> {
        let framed = unframed(value)?;
        let writer = R::schemas().schema(framed.schema)?;
        read(writer.parsed(parse)?, framed)
    }
}

/// Decodes a value that was written with the schema `writer`.
fn read<T: DeserializeOwned>(writer: &Schema, Framed { schema, mut rest }: Framed<'_>) -> Result<T, Fault> {
    let left = datum::check(writer, rest)?;
    if !left.is_empty() {
        return Err(Fault::new(format!("{} bytes are left behind what schema {schema} describes", left.len())));
    }
    Ok(from_value(&from_avro_datum(writer, &mut rest, None)?)?)
}

fn parse(schema: &OwnedSchema) -> Result<Schema, Fault> {
    match schema.kind == SchemaKind::Avro.as_str() {
        true => Ok(Schema::parse_str(&schema.text)?),
        false => Err(Fault::new(format!("the schema is not Avro but {}", schema.kind))),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        order_id: String,
        names: Vec<String>,
        note: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Node {
        next: Option<Box<Node>>,
    }

    fn read_by<T: DeserializeOwned>(schema: &str, rest: &[u8]) -> Result<T, Fault> {
        read(&Schema::parse_str(schema).expect("is a schema"), Framed { schema: 7, rest })
    }

    #[test]
    fn a_value_that_asks_for_too_much_is_an_error() {
        let order = r#"{"type": "record", "name": "Order", "fields": [
            {"name": "order_id", "type": "string"},
            {"name": "names", "type": {"type": "array", "items": "string"}},
            {"name": "note", "type": ["null", "string"]}
        ]}"#;
        let read: Order = read_by(order, b"\x02a\x04\x02b\x02c\x00\x02\x02d").expect("is one");
        let names = vec!["b".to_owned(), "c".to_owned()];
        assert_eq!(read, Order { order_id: "a".to_owned(), names, note: Some("d".to_owned()) });
        let refused = |rest: &[u8]| read_by::<Order>(order, rest).expect_err("is none").to_string();
        // 400 million names, none of which follows.
        assert_eq!(refused(b"\x02a\x80\x90\xbc\xfd\x02"), "the value is cut off, or a length in it is wrong");
        assert_eq!(refused(b"\x02a\x00\x00?"), "1 bytes are left behind what schema 7 describes");
        assert!(refused(b"\x02a\x00").contains("cut off"));
    }

    #[test]
    fn a_value_of_a_recursive_schema_is_read_as_deep_as_it_may_be() {
        let node = r#"{"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}"#;
        let read: Node = read_by(node, &[2, 2, 0]).expect("is one");
        assert_eq!(read, Node { next: Some(Box::new(Node { next: Some(Box::new(Node { next: None })) })) });
        let refused = read_by::<Node>(node, &vec![2; 1 << 20]).expect_err("is too deep").to_string();
        assert!(refused.contains("deep in one another"), "{refused}");
    }
}
