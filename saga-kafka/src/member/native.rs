//! The calls of librdkafka that rdkafka does not have: an asynchronous commit that is reported, a header whose name is any bytes, the
//! generation of a member, where a client stands without a question to itself, and the identities of topics.
//!
//! rdkafka 0.39 takes its events from the client's queue, and of an asynchronous commit the client puts nothing there: the callback
//! that rdkafka has for it is called for automatic commits only. The client can be told to put it there. A header whose name is not UTF-8
//! makes rdkafka panic. This module is the only one
//! of the project in which `unsafe` may stand.

#![expect(
    unsafe_code,
    reason = "rdkafka has no safe way to learn of a commit without waiting for it, to read every header, or to ask for topics' identities"
)]

use std::{
    ffi::{CStr, CString},
    ptr, slice,
    time::Duration,
};

use rdkafka::{
    TopicPartitionList,
    bindings::{
        rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new, rd_kafka_AdminOptions_set_request_timeout,
        rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
        rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_error, rd_kafka_TopicDescription_name,
        rd_kafka_TopicDescription_t, rd_kafka_TopicDescription_topic_id, rd_kafka_Uuid_base64str,
        rd_kafka_Uuid_least_significant_bits, rd_kafka_Uuid_most_significant_bits, rd_kafka_admin_op_t, rd_kafka_commit_queue,
        rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
        rd_kafka_consumer_group_metadata_generation_id, rd_kafka_error_code, rd_kafka_event_DescribeTopics_result,
        rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_event_t, rd_kafka_header_get_all, rd_kafka_position,
        rd_kafka_queue_destroy, rd_kafka_queue_get_consumer, rd_kafka_queue_new, rd_kafka_queue_poll,
    },
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
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

/// The generation of the group, or the member's epoch in it, that this member is in; below 1 when it is in none.
pub(super) fn generation(client: &BaseConsumer<Context>) -> i32 {
    // SAFETY: the client lives as long as `client` is borrowed.
    let metadata = unsafe { rd_kafka_consumer_group_metadata(client.client().native_ptr()) };
    if metadata.is_null() {
        return -1;
    }
    // SAFETY: `metadata` was made for us above, is not null, and is not used after this.
    unsafe {
        let generation = rd_kafka_consumer_group_metadata_generation_id(metadata);
        rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
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

/// The identity of a topic as the cluster shows it, `None` if it has none; or why it is not told.
pub(crate) type Identity = Result<Option<String>, Code>;

/// Asks for the identities of topics, and waits for the answer.
///
/// # Errors
/// When there is no answer in time.
pub(crate) fn identities<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topics: &[CString],
    patience: Duration,
) -> Result<Vec<(String, Identity)>, Code> {
    let native = client.client().native_ptr();
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    let mut names: Vec<_> = topics.iter().map(|topic| topic.as_ptr()).collect();
    // SAFETY: `native` is a client that lives as long as `client` is borrowed. The names are texts with a NUL at their end that outlive the
    // calls, which copy them; the array has as many as are told. What is made here is destroyed below, once, and not used afterwards: an
    // answer that comes later finds its queue closed. The name of the timeout's error is not asked for, as there is room for none.
    let event = unsafe {
        let queue = rd_kafka_queue_new(native);
        let options = rd_kafka_AdminOptions_new(native, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        rd_kafka_AdminOptions_set_request_timeout(options, millis, ptr::null_mut(), 0);
        let asked = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        rd_kafka_DescribeTopics(native, asked, options, queue);
        rd_kafka_TopicCollection_destroy(asked);
        rd_kafka_AdminOptions_destroy(options);
        let event = rd_kafka_queue_poll(queue, millis.saturating_add(500));
        rd_kafka_queue_destroy(queue);
        event
    };
    if event.is_null() {
        return Err(Code::OperationTimedOut);
    }
    // SAFETY: the event is alive until it is destroyed here, once; what is read of it is copied.
    unsafe {
        let found = described(event);
        rd_kafka_event_destroy(event);
        found
    }
}

/// What the answer to [`identities`] says.
///
/// # Safety
/// `event` has to be alive.
unsafe fn described(event: *mut rd_kafka_event_t) -> Result<Vec<(String, Identity)>, Code> {
    // SAFETY: the event is alive. Its result, the descriptions in it, their names, errors and identities are its own.
    unsafe {
        let code = rd_kafka_event_error(event);
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code.into());
        }
        let result = rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(Code::Fail);
        }
        let mut count = 0;
        let topics = rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count == 0 {
            return Ok(Vec::new());
        }
        Ok(slice::from_raw_parts(topics, count).iter().map(|topic| identity(*topic)).collect())
    }
}

/// The name of a topic, and its identity.
///
/// # Safety
/// `topic` has to be a description in an event that is alive.
unsafe fn identity(topic: *const rd_kafka_TopicDescription_t) -> (String, Identity) {
    // SAFETY: the description is alive, and so is what belongs to it; names and identities end with a NUL.
    unsafe {
        let name = CStr::from_ptr(rd_kafka_TopicDescription_name(topic)).to_string_lossy().into_owned();
        let code = rd_kafka_error_code(rd_kafka_TopicDescription_error(topic));
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return (name, Err(code.into()));
        }
        let id = rd_kafka_TopicDescription_topic_id(topic);
        let none =
            id.is_null() || (rd_kafka_Uuid_most_significant_bits(id) == 0 && rd_kafka_Uuid_least_significant_bits(id) == 0);
        let text = || CStr::from_ptr(rd_kafka_Uuid_base64str(id)).to_string_lossy().into_owned();
        (name, Ok((!none).then(text)))
    }
}
