//! The id of an event: the name of the log of changes and a position in it.

use std::{fmt, str::FromStr};

/// The number of hexadecimal digits in a name.
const NAME: usize = 12;
/// The end of the range of positions: a position has at most 18 digits.
const END: i64 = 1_000_000_000_000_000_000;

/// An id such as `9f2c31d0a4be-120`: position 120 in the log with that name.
///
/// The name is created together with the log. So a position in another log of the same length is not mistaken for one in this
/// log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventId {
    pub(super) name: String,
    pub(super) position: i64,
}

impl EventId {
    /// Creates the name of a new log from the random part of a UUID.
    pub(super) fn new_name(random: uuid::Uuid) -> String {
        let text = random.simple().to_string();
        text[text.len() - NAME..].to_owned()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.position)
    }
}

/// The error of a text that is not an event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an event of this stream, such as `9f2c31d0a4be-120`")]
pub(super) struct NotAnId;

impl FromStr for EventId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (name, position) = text.split_once('-').ok_or(NotAnId)?;
        let hexadecimal = name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let position: i64 = position.parse().map_err(|_| NotAnId)?;
        let id = Self { name: name.to_owned(), position };
        // Only the canonical form is an id: no sign and no leading zeros.
        let ours = hexadecimal && name.len() == NAME && (0..END).contains(&position) && id.to_string() == text;
        ours.then_some(id).ok_or(NotAnId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let name = EventId::new_name(uuid::Uuid::from_u128(0x0190_a8a0_0000_7000_8000_9f2c_31d0_a4be));
        assert_eq!(name, "9f2c31d0a4be");
        for position in [0, 1, 120, END - 1] {
            let id = EventId { name: name.clone(), position };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "-",
            "120",
            "9f2c31d0a4be",
            "9f2c31d0a4be-",
            "9f2c31d0a4be--1",
            "9f2c31d0a4be-+1",
            "9f2c31d0a4be-01",
            "9f2c31d0a4be-1 ",
            "9f2c31d0a4be-1000000000000000000",
            "9f2c31d0a4be-9223372036854775808",
            "9F2C31D0A4BE-1",
            "9f2c31d0a4b-1",
            "9f2c31d0a4bee-1",
            "9f2c31d0a4bg-1",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(NotAnId), "{text:?}");
        }
    }
}
