//! Copies a message of the client to a record. A borrowed message would keep the whole fetch buffer alive.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::{
    Message,
    message::{BorrowedHeaders, BorrowedMessage, Headers as _},
};
use saga_core::{
    message::{Header, Received, Record},
    time::LogTime,
};

use super::native;

pub(super) fn copied(message: &BorrowedMessage<'_>) -> Received {
    let record = Record {
        topic: message.topic().to_owned(),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: message.headers().map(headers).unwrap_or_default(),
        timestamp: message.timestamp().to_millis().map_or(LogTime::NONE, LogTime::from_millis),
    };
    Received { record: Arc::new(record), partition: message.partition(), offset: message.offset() }
}

fn headers(headers: &BorrowedHeaders) -> Vec<Header> {
    (0..headers.count()).filter_map(|index| header(headers, index)).collect()
}

/// The header at `index`. Bytes of its name that are not UTF-8 are written as `\xff`.
fn header(headers: &BorrowedHeaders, index: usize) -> Option<Header> {
    let (name, value) = native::header(headers, index)?;
    Some(Header { name: readable(name), value: value.map(Bytes::copy_from_slice) })
}

fn readable(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn a_name_that_is_no_text_is_kept_in_readable_form() {
        assert_eq!(readable("ce_id é".as_bytes()), "ce_id é");
        assert_eq!(readable(b"x-\xff\xc3-y"), "x-\\xff\\xc3-y");
    }
}
