//! A message of the client as a record of our own. A borrowed one would pin the whole buffer it was fetched in.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use rdkafka::{
    Message,
    message::{BorrowedHeaders, BorrowedMessage, Headers as _},
};
use saga_core::{
    message::{Header, Received, Record},
    time::Timestamp,
};

pub(super) fn copied(message: &BorrowedMessage<'_>) -> Received {
    let record = Record {
        topic: message.topic().to_owned(),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: message.headers().map(headers).unwrap_or_default(),
        timestamp: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(0)),
    };
    Received { record: Arc::new(record), partition: message.partition(), offset: message.offset() }
}

fn headers(headers: &BorrowedHeaders) -> Vec<Header> {
    (0..headers.count()).filter_map(|index| header(headers, index)).collect()
}

/// The header at `index`, unless its name is not UTF-8: of such a one the client can tell nothing, and panics.
fn header(headers: &BorrowedHeaders, index: usize) -> Option<Header> {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let header = headers.try_get(index)?;
        Some(Header { name: header.key.to_owned(), value: header.value.map(Bytes::copy_from_slice) })
    }));
    read.unwrap_or_else(|_| {
        tracing::warn!("a header whose name is not UTF-8 is left out");
        None
    })
}
