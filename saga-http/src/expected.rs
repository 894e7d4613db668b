//! Translates the expectations in serde's messages for clients that write JSON. Serde's texts name Rust types.

/// Returns the requirement for a value that one of serde's messages expresses. A message that is not one of serde's is returned unchanged.
pub(super) fn told(message: &str) -> String {
    if message.starts_with("invalid type: null,") || message.starts_with("invalid type: unit value,") {
        return "must not be null".to_owned();
    }
    if ["invalid type: ", "invalid value: ", "invalid length "].iter().any(|start| message.starts_with(start)) {
        // The text before the last separator is the value, which can contain anything.
        return message.rsplit_once(", expected ").map_or_else(other, |(_, expected)| must_be(expected));
    }
    match message {
        // Errors of numbers and booleans in a query.
        "invalid digit found in string" | "cannot parse integer from empty string" => "must be a whole number".to_owned(),
        "number too large to fit in target type" => "is too large a number".to_owned(),
        "number too small to fit in target type" => "is too small a number".to_owned(),
        "invalid float literal" | "cannot parse float from empty string" => "must be a number".to_owned(),
        "provided string was not `true` or `false`" => "must be true or false".to_owned(),
        "number out of range" => "is a number out of range".to_owned(),
        message if message.starts_with("data did not match any variant") || message.starts_with("no variant of enum ") => other(),
        message => message.to_owned(),
    }
}

/// Returns `expected`, the name of a type or serde's description of one, as a requirement.
pub(super) fn must_be(expected: &str) -> String {
    macro_rules! integer {
        ($($type:ident)*) => {
            match expected {
                $(stringify!($type) => Some(format!("must be a whole number from {} to {}", $type::MIN, $type::MAX)),)*
                _ => None,
            }
        };
    }
    if let Some(words) = integer!(i8 i16 i32 i64 u8 u16 u32 u64) {
        return words;
    }
    let words = match expected {
        "i128" | "u128" | "isize" | "usize" => "must be a whole number",
        "f32" | "f64" => "must be a number",
        "bool" | "a boolean" => "must be true or false",
        "char" | "a character" => "must be one character",
        "str" | "&str" | "String" | "alloc::string::String" | "a string" | "a borrowed string" | "string" => "must be a text",
        "map" | "a map" => "must be an object",
        "a sequence" => "must be a list",
        "unit" | "()" => "must be null",
        "string or map" | "variant identifier" => "is not one of the words expected",
        _ => return composed(expected),
    };
    words.to_owned()
}

/// Handles the descriptions that contain the name of a type in a longer text.
fn composed(expected: &str) -> String {
    let begins = |starts: &[&str]| starts.iter().any(|start| expected.starts_with(start));
    if begins(&["struct ", "internally tagged enum ", "adjacently tagged enum "]) {
        "must be an object".to_owned()
    } else if begins(&["tuple ", "a tuple ", "an array "]) {
        match expected.split(' ').find_map(|word| word.parse::<usize>().ok()) {
            Some(items) => format!("must be a list of {items}"),
            None => "must be a list".to_owned(),
        }
    } else if begins(&["unit struct "]) {
        "must be null".to_owned()
    } else if begins(&["enum ", "unit variant "]) {
        "is not one of the words expected".to_owned()
    } else if begins(&["a nonzero "]) {
        "must be a whole number other than 0".to_owned()
    } else if begins(&["newtype "]) || expected.contains("::") {
        other()
    } else {
        // A type with its own description of what it is read from.
        format!("must be {expected}")
    }
}

fn other() -> String {
    "is not of the form expected".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_in_words() {
        for (message, words) in [
            ("invalid type: sequence, expected struct NewOrder", "must be an object"),
            ("invalid type: integer `1`, expected a map", "must be an object"),
            ("invalid type: integer `1`, expected internally tagged enum Payment", "must be an object"),
            ("invalid type: string \"1\", expected f64", "must be a number"),
            ("invalid type: string \"1\", expected u32", "must be a whole number from 0 to 4294967295"),
            ("invalid value: integer `-1`, expected u8", "must be a whole number from 0 to 255"),
            ("invalid value: integer `0`, expected a nonzero u32", "must be a whole number other than 0"),
            ("invalid type: floating point `1.5`, expected usize", "must be a whole number"),
            ("invalid type: null, expected u32", "must not be null"),
            ("invalid type: unit value, expected a string", "must not be null"),
            ("invalid type: integer `1`, expected a string", "must be a text"),
            ("invalid type: integer `1`, expected a boolean", "must be true or false"),
            ("invalid value: string \"ab\", expected a character", "must be one character"),
            ("invalid type: map, expected a sequence", "must be a list"),
            ("invalid length 1, expected a tuple of size 2", "must be a list of 2"),
            ("invalid length 3, expected an array of length 2", "must be a list of 2"),
            ("invalid length 1, expected tuple struct Pair with 2 elements", "must be a list of 2"),
            ("invalid type: string \"\", expected unit struct Nothing", "must be null"),
            ("invalid type: map, expected enum Method", "is not one of the words expected"),
            ("invalid type: map, expected newtype struct Price", "is not of the form expected"),
            ("invalid type: string \"a, expected b\", expected u8", "must be a whole number from 0 to 255"),
            ("data did not match any variant of untagged enum Method", "is not of the form expected"),
            ("invalid type: integer `5`, expected a formatted UUID string", "must be a formatted UUID string"),
            ("invalid digit found in string", "must be a whole number"),
            ("the price has too many digits", "the price has too many digits"),
        ] {
            assert_eq!(told(message), words, "{message}");
        }
    }
}
