//! The calls of librdkafka that rdkafka does not have: an asynchronous commit that is reported, and a header whose name is any bytes.
//!
//! rdkafka 0.39 takes its events from the client's queue, and of an asynchronous commit the client puts nothing there: the callback
//! that rdkafka has for it is called for automatic commits only. The client can be told to put it there. A header whose name is not UTF-8
//! makes rdkafka panic. This module is the only one
//! of the project in which `unsafe` may stand.

#![expect(unsafe_code, reason = "rdkafka has no safe way to learn of a commit without waiting for it, nor to read every header")]

use std::{ffi::CStr, ptr, slice};

use rdkafka::{
    TopicPartitionList,
    bindings::{
        rd_kafka_commit_queue, rd_kafka_header_get_all, rd_kafka_position, rd_kafka_queue_destroy, rd_kafka_queue_get_consumer,
    },
    consumer::{BaseConsumer, Consumer as _},
    message::BorrowedHeaders,
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};

use super::context::Context;

/// Commits offsets. What became of it is reported to [`Context::commit_callback`](rdkafka::consumer::ConsumerContext), while the
/// client is polled, with every offset and, where there is one, its error.
///
/// # Errors
/// When the request cannot be made. Nothing is reported then.
pub(super) fn commit(client: &BaseConsumer<Context>, offsets: &TopicPartitionList) -> Result<(), Code> {
    let native = client.client().native_ptr();
    // SAFETY: `native` is a client that lives as long as `client` is borrowed, and was made with a group.
    let queue = unsafe { rd_kafka_queue_get_consumer(native) };
    if queue.is_null() {
        return Err(Code::UnknownGroup);
    }
    // SAFETY: `native` and `queue` are alive, and so is `offsets`, of which the client makes a copy. There is no callback: the answer
    // becomes an event of the queue, which is the one that `BaseConsumer` polls, and which has events of commits enabled.
    let code = unsafe { rd_kafka_commit_queue(native, offsets.ptr(), queue, None, ptr::null_mut()) };
    // SAFETY: `queue` is a reference that was counted for us above and is not used after this. What waits for the answer has one of
    // its own.
    unsafe { rd_kafka_queue_destroy(queue) };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// Writes into `partitions` where the client stands in each: the offset after the last that it has handed out, or that it has passed
/// because it has no record for us. Without the assignment, for which rdkafka's own call would wait, and without a request.
pub(super) fn positions(client: &BaseConsumer<Context>, partitions: &TopicPartitionList) {
    // SAFETY: the client is alive as long as it is borrowed, and so is the list, into which it writes offsets and errors of the elements
    // that are there.
    unsafe { rd_kafka_position(client.client().native_ptr(), partitions.ptr()) };
}

/// Name and value of the header at `index`; `None` when there are no more. A NUL ends the name, as everywhere in the client.
pub(super) fn header(headers: &BorrowedHeaders, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: rdkafka makes `&BorrowedHeaders` of the client's own pointer, which is alive as long as that borrow. The other pointers are
    // of variables that outlive the call.
    let code =
        unsafe { rd_kafka_header_get_all(ptr::from_ref(headers).cast(), index, &raw mut name, &raw mut value, &raw mut size) };
    if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
        return None;
    }
    // SAFETY: the client ends every name with a NUL, and keeps it and the `size` bytes of a value that is not null as long as the headers.
    unsafe { Some((CStr::from_ptr(name).to_bytes(), (!value.is_null()).then(|| slice::from_raw_parts(value.cast(), size)))) }
}
