//! Limits of what a value can require of the program that decodes it.
//!
//! apache-avro trusts a length before it has read what follows, treats the end of the input as nulls, and recurses as deep as a value is
//! nested. So a value is checked against its writer's schema first, by a walk that builds no values.

use apache_avro::{
    Schema,
    schema::{NamesRef, Namespace, ResolvedSchema},
    types::Value,
};
use saga_core::failure::Fault;

/// The maximum nesting of a value, including unions and references. Without optimizations, apache-avro takes up to 23 KiB of stack for each
/// level, and a thread of tokio has 2 MiB.
const DEEPEST: usize = 32;
/// The memory, in bytes, that any value may take when it is decoded.
const LEAST: usize = 16 << 20;
/// The memory, in bytes, that a value may take in addition for each of its bytes.
const FOR_A_BYTE: usize = 256;

/// Checks that `datum`, which `schema` describes, is complete, stays within the limits of memory and depth, and does not announce more
/// elements than it contains. Returns the bytes after the value.
///
/// # Errors
/// Returns an error if one of these does not hold.
pub(super) fn check<'d>(schema: &Schema, datum: &'d [u8]) -> Result<&'d [u8], Fault> {
    let most = LEAST.saturating_add(datum.len().saturating_mul(FOR_A_BYTE));
    let mut walk = Walk { root: schema, names: None, rest: datum, most, taken: 0 };
    walk.value(schema, &None, 0)?;
    Ok(walk.rest)
}

struct Walk<'s, 'd> {
    root: &'s Schema,
    /// The schemas by name, resolved when the first is needed.
    names: Option<NamesRef<'s>>,
    rest: &'d [u8],
    /// The limit of the memory it may take.
    most: usize,
    taken: usize,
}

impl<'s> Walk<'s, '_> {
    /// Skips a value that is nested in `depth` others.
    fn value(&mut self, schema: &Schema, namespace: &Namespace, depth: usize) -> Result<(), Fault> {
        if depth >= DEEPEST {
            return Err(Fault::new(format!("its values lie more than {DEEPEST} deep in one another")));
        }
        let depth = depth + 1;
        self.takes(size_of::<Value>())?;
        match schema {
            Schema::Null => {}
            Schema::Boolean => {
                take(&mut self.rest, 1)?;
            }
            Schema::Int
            | Schema::Long
            | Schema::Date
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => {
                number(&mut self.rest)?;
            }
            Schema::Float => {
                take(&mut self.rest, 4)?;
            }
            Schema::Double => {
                take(&mut self.rest, 8)?;
            }
            Schema::Duration => {
                take(&mut self.rest, 12)?;
            }
            Schema::Fixed(fixed) => {
                take(&mut self.rest, fixed.size)?;
                self.takes(fixed.size)?;
            }
            Schema::Bytes | Schema::String | Schema::Uuid => {
                let bytes = sized(&mut self.rest)?;
                self.takes(bytes.len())?;
            }
            Schema::BigDecimal => {
                // Bytes that contain a byte string and a scale.
                let mut inner = sized(&mut self.rest)?;
                self.takes(inner.len())?;
                sized(&mut inner)?;
                number(&mut inner)?;
            }
            Schema::Decimal(decimal) => self.value(&decimal.inner, namespace, depth)?,
            Schema::Enum(of) => {
                let place = number(&mut self.rest)?;
                let symbol = usize::try_from(place).ok().and_then(|place| of.symbols.get(place));
                let symbol = symbol.ok_or_else(|| Fault::new(format!("enum `{}` has no symbol {place}", of.name)))?;
                self.takes(symbol.len())?;
            }
            Schema::Union(union) => {
                let place = number(&mut self.rest)?;
                let variant = usize::try_from(place).ok().and_then(|place| union.variants().get(place));
                let variant = variant.ok_or_else(|| Fault::new(format!("a union has no variant {place}")))?;
                self.value(variant, namespace, depth)?;
            }
            Schema::Array(array) => loop {
                let count = block(&mut self.rest)?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    self.value(&array.items, namespace, depth)?;
                }
            },
            Schema::Map(map) => loop {
                let count = block(&mut self.rest)?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    let key = sized(&mut self.rest)?;
                    self.takes(size_of::<String>() + key.len())?;
                    self.value(&map.types, namespace, depth)?;
                }
            },
            Schema::Record(record) => {
                let namespace = if record.name.namespace.is_some() { &record.name.namespace } else { namespace };
                for field in &record.fields {
                    self.takes(size_of::<String>() + field.name.len())?;
                    self.value(&field.schema, namespace, depth)?;
                }
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let names = match &self.names {
                    Some(names) => names,
                    None => &*self.names.insert(ResolvedSchema::try_from(self.root)?.get_names().clone()),
                };
                let named: Option<&'s Schema> = names.get(&name).copied();
                let named = named.ok_or_else(|| Fault::new(format!("the schema does not define `{name}`")))?;
                self.value(named, &name.namespace, depth)?;
            }
        }
        Ok(())
    }

    /// Adds the memory that a value takes.
    fn takes(&mut self, bytes: usize) -> Result<(), Fault> {
        self.taken = self.taken.saturating_add(bytes);
        match self.taken <= self.most {
            true => Ok(()),
            false => Err(Fault::new(format!("it would take more than {} bytes of memory to read", self.most))),
        }
    }
}

/// Takes `len` bytes from `rest`.
fn take<'d>(rest: &mut &'d [u8], len: usize) -> Result<&'d [u8], Fault> {
    let all: &'d [u8] = rest;
    let (taken, left) =
        all.split_at_checked(len).ok_or_else(|| Fault::new("the value is cut off, or a length in it is wrong"))?;
    *rest = left;
    Ok(taken)
}

/// Takes a length, and as many bytes, from `rest`.
fn sized<'d>(rest: &mut &'d [u8]) -> Result<&'d [u8], Fault> {
    let len = number(rest)?;
    let len = usize::try_from(len).map_err(|_| Fault::new(format!("{len} is no length")))?;
    take(rest, len)
}

/// Takes the number of elements of the next block of an array or a map from `rest`. The last block has 0.
fn block(rest: &mut &[u8]) -> Result<u64, Fault> {
    let count = number(rest)?;
    if count < 0 {
        // A negative count is followed by the size of the block in bytes, which readers can use to skip it.
        number(rest)?;
    }
    Ok(count.unsigned_abs())
}

/// Takes a number in zigzag encoding from `rest`.
fn number(rest: &mut &[u8]) -> Result<i64, Fault> {
    let mut bits = 0_u64;
    for place in 0..10 {
        let byte = take(rest, 1)?[0];
        bits |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    Err(Fault::new("a number has more than ten bytes"))
}

#[cfg(test)]
mod tests {
    use apache_avro::from_avro_datum;

    use super::*;

    fn parsed(schema: &str) -> Schema {
        Schema::parse_str(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
    }

    fn refused(schema: &str, datum: &[u8]) -> String {
        check(&parsed(schema), datum).expect_err("is refused").to_string()
    }

    /// Returns a number in zigzag encoding.
    fn zigzag(number: i64) -> Vec<u8> {
        let (mut bits, mut bytes) = (((number << 1) ^ (number >> 63)) as u64, Vec::new());
        while bits > 0x7f {
            bytes.push(bits as u8 | 0x80);
            bits >>= 7;
        }
        bytes.push(bits as u8);
        bytes
    }

    #[test]
    fn what_is_read_is_walked_through_to_the_same_end() {
        let uuid = [&[72][..], b"0190163d-8694-739b-aea5-966c26f8ad91"].concat();
        let both: &[(&str, &[u8])] = &[
            (r#""null""#, &[]),
            (r#""boolean""#, &[1]),
            (r#""int""#, &[0xc4, 0x13]),
            (r#""long""#, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (r#""float""#, &[0; 4]),
            (r#""double""#, &[0; 8]),
            (r#""bytes""#, &[4, 1, 2]),
            (r#""string""#, b"\x04ab"),
            (r#"{"type": "fixed", "name": "F", "size": 3}"#, &[1, 2, 3]),
            (r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#, &[2]),
            (r#"{"type": "array", "items": "int"}"#, &[4, 2, 4, 2, 6, 0]),
            (r#"{"type": "array", "items": "int"}"#, &[3, 4, 2, 4, 0]),
            (r#"{"type": "array", "items": "null"}"#, &[200, 1, 0]),
            (r#"{"type": "map", "values": "int"}"#, b"\x02\x02a\x02\x00"),
            (r#"["null", "string"]"#, b"\x02\x02a"),
            (r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#, &[2, 5]),
            (r#"{"type": "fixed", "name": "D", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 2}"#, &[0, 5]),
            (r#"{"type": "bytes", "logicalType": "big-decimal"}"#, &[6, 2, 5, 2]),
            (r#"{"type": "string", "logicalType": "uuid"}"#, &uuid),
            (r#"{"type": "int", "logicalType": "date"}"#, &[2]),
            (r#"{"type": "int", "logicalType": "time-millis"}"#, &[2]),
            (r#"{"type": "long", "logicalType": "time-micros"}"#, &[2]),
            (r#"{"type": "long", "logicalType": "timestamp-millis"}"#, &[0xc4, 0x13]),
            (r#"{"type": "long", "logicalType": "timestamp-micros"}"#, &[2]),
            (r#"{"type": "long", "logicalType": "timestamp-nanos"}"#, &[2]),
            (r#"{"type": "long", "logicalType": "local-timestamp-millis"}"#, &[2]),
            (r#"{"type": "long", "logicalType": "local-timestamp-micros"}"#, &[2]),
            (r#"{"type": "long", "logicalType": "local-timestamp-nanos"}"#, &[2]),
            (r#"{"type": "fixed", "name": "P", "size": 12, "logicalType": "duration"}"#, &[1; 12]),
            (
                r#"{"type": "record", "name": "shop.Pair", "fields": [
                    {"name": "a", "type": {"type": "enum", "name": "Kind", "symbols": ["X", "Y"]}},
                    {"name": "b", "type": "Kind"},
                    {"name": "c", "type": "shop.Kind"}
                ]}"#,
                &[0, 2, 2],
            ),
        ];
        for (schema, datum) in both {
            let followed = [*datum, &[7, 7][..]].concat();
            let left = check(&parsed(schema), &followed).unwrap_or_else(|fault| panic!("{schema}: {fault}"));
            assert_eq!(left, [7, 7], "{schema}");
            let mut rest = &followed[..];
            from_avro_datum(&parsed(schema), &mut rest, None).unwrap_or_else(|error| panic!("{schema}: {error}"));
            assert_eq!(rest, [7, 7], "{schema}");
            for end in 0..datum.len() {
                assert!(check(&parsed(schema), &datum[..end]).is_err(), "{schema} up to {end}");
            }
        }
    }

    #[test]
    fn lengths_and_counts_that_nothing_follows_are_refused() {
        for items in
            [r#""string""#, r#""boolean""#, r#""null""#, r#"["null", "string"]"#, r#"{"type": "fixed", "name": "F", "size": 0}"#]
        {
            for count in [500_000_000, i64::MAX, i64::MIN, -500_000_000] {
                // After a negative count, the second number is the size of the block.
                let datum = [zigzag(count), zigzag(3)].concat();
                refused(&format!(r#"{{"type": "array", "items": {items}}}"#), &datum);
                refused(&format!(r#"{{"type": "map", "values": {items}}}"#), &datum);
            }
        }
        for len in [500_000_000, i64::MAX, -1, i64::MIN] {
            refused(r#""bytes""#, &zigzag(len));
            refused(r#""string""#, &zigzag(len));
            let inner = zigzag(len);
            let decimal = [zigzag(inner.len() as i64), inner].concat();
            refused(r#"{"type": "bytes", "logicalType": "big-decimal"}"#, &decimal);
        }
        refused(r#"{"type": "fixed", "name": "F", "size": 9223372036854775807}"#, &[1]);
        refused(r#""long""#, &[0xff; 11]);
        refused(r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#, &zigzag(2));
        refused(r#"["null", "string"]"#, &zigzag(-1));
    }

    #[test]
    fn what_goes_too_deep_is_refused() {
        let node = r#"{"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}"#;
        assert!(refused(node, &vec![2; 1 << 20]).contains("deep"));
        // A record, a union and a reference for each node; at the end a record, a union and null.
        let deepest = [vec![2; (DEEPEST - 3) / 3], vec![0]].concat();
        assert_eq!(check(&parsed(node), &deepest).expect("is allowed"), &[] as &[u8]);
        from_avro_datum(&parsed(node), &mut &deepest[..], None).expect("is read");
        // A type that contains itself without end, and takes no bytes.
        assert!(refused(r#"{"type": "record", "name": "A", "fields": [{"name": "a", "type": "A"}]}"#, &[]).contains("deep"));
    }

    #[test]
    fn what_takes_much_memory_for_its_bytes_is_refused() {
        // Each record contains four of the previous type, and none has a byte.
        let mut schema = r#""null""#.to_owned();
        for level in 0..10 {
            let again = if level == 0 { "null".to_owned() } else { format!("R{}", level - 1) };
            let again = ["b", "c", "d"].map(|name| format!(r#"{{"name": "{name}", "type": "{again}"}}"#)).join(", ");
            schema =
                format!(r#"{{"type": "record", "name": "R{level}", "fields": [{{"name": "a", "type": {schema}}}, {again}]}}"#);
        }
        assert!(refused(&schema, &[]).contains("memory"));
        // If each element has bytes, any number of elements is allowed.
        let ints = [zigzag(1_000_000), vec![2; 1_000_000], vec![0]].concat();
        assert!(check(&parsed(r#"{"type": "array", "items": "int"}"#), &ints).is_ok());
    }
}
