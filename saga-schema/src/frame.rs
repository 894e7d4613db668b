//! Confluent's wire format: the prefix of an event.

use saga_core::failure::Fault;

use crate::SchemaId;

/// The first byte of every value in this format.
const MAGIC: u8 = 0;

/// A value, split into its schema id and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed<'v> {
    /// The id of the schema that the value was written with.
    pub schema: SchemaId,
    /// The bytes after the id.
    pub rest: &'v [u8],
}

/// Returns the prefix of a value that is written with `schema`.
pub fn framed(schema: SchemaId) -> Vec<u8> {
    let mut value = vec![MAGIC];
    value.extend(schema.to_be_bytes());
    value
}

/// Splits `value` into its schema id and the rest.
///
/// # Errors
/// Returns an error if the value does not have the prefix.
pub fn unframed(value: &[u8]) -> Result<Framed<'_>, Fault> {
    match value.split_first_chunk::<5>() {
        Some(([MAGIC, schema @ ..], rest)) => Ok(Framed { schema: SchemaId::from_be_bytes(*schema), rest }),
        _ => Err(Fault::new(
            "the value does not begin with a zero byte and the four bytes of a schema's id; was it written by a serializer with a registry?",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_zero_and_the_id_in_four_bytes() {
        let mut value = framed(0x0102_0304);
        assert_eq!(value, [0, 1, 2, 3, 4]);
        value.push(9);
        assert_eq!(unframed(&value).expect("is framed"), Framed { schema: 0x0102_0304, rest: &[9] });
        for bad in [&b""[..], &[0, 1, 2, 3], &[1, 0, 0, 0, 1, 9], br#"{"order_id":7}"#] {
            assert!(unframed(bad).is_err(), "{bad:?}");
        }
    }
}
