//! The functions of librdkafka that rdkafka does not offer: an asynchronous commit with a report, headers with arbitrary bytes as
//! names, the generation of a member, the position of a client without a request, and the ids of topics.
//!
//! rdkafka 0.39 takes its events from the client's queue, but for an asynchronous commit the client puts no event there:
//! rdkafka's commit callback is called for automatic commits only. With `rd_kafka_commit_queue`, the client does put the event
//! there. A header name that is not UTF-8 makes rdkafka panic. This is the only module of the project that contains `unsafe`
//! code.

#![expect(
    unsafe_code,
    reason = "rdkafka has no safe function that reports an asynchronous commit, reads every header, or requests topic ids"
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
        rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_event_t, rd_kafka_header_get_all, rd_kafka_mem_free,
        rd_kafka_memberid, rd_kafka_position, rd_kafka_queue_destroy, rd_kafka_queue_get_consumer, rd_kafka_queue_new,
        rd_kafka_queue_poll,
    },
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    message::BorrowedHeaders,
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};

use super::context::Context;

/// Commits offsets. The result is reported to [`Context::commit_callback`](rdkafka::consumer::ConsumerContext) while the client
/// is polled, with all offsets and, if there are any, their errors.
///
/// # Errors
/// If the request cannot be made. Nothing is reported then.
pub(super) fn commit(client: &BaseConsumer<Context>, offsets: &TopicPartitionList) -> Result<(), Code> {
    let native = client.client().native_ptr();
    // SAFETY: `native` is a client that lives as long as the borrow of `client`, and was created with a group.
    let queue = unsafe { rd_kafka_queue_get_consumer(native) };
    if queue.is_null() {
        return Err(Code::UnknownGroup);
    }
    // SAFETY: `native` and `queue` are alive, and so is `offsets`, which the client copies. There is no callback: the result
    // becomes an event of the queue that `BaseConsumer` polls, and this queue has commit events enabled.
    let code = unsafe { rd_kafka_commit_queue(native, offsets.ptr(), queue, None, ptr::null_mut()) };
    // SAFETY: `queue` is a counted reference that was acquired above and is not used after this. The pending commit has its own
    // reference.
    unsafe { rd_kafka_queue_destroy(queue) };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// Returns this member's generation in the group, or its member epoch; below 1 if it has not joined.
pub(super) fn generation(client: &BaseConsumer<Context>) -> i32 {
    // SAFETY: the client lives as long as the borrow of `client`.
    let metadata = unsafe { rd_kafka_consumer_group_metadata(client.client().native_ptr()) };
    if metadata.is_null() {
        return -1;
    }
    // SAFETY: `metadata` was created above, is not null, and is not used after this.
    unsafe {
        let generation = rd_kafka_consumer_group_metadata_generation_id(metadata);
        rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    }
}

/// Returns the id that the coordinator has given to this member; empty if it has not joined.
pub(super) fn member_id(client: &BaseConsumer<Context>) -> String {
    let native = client.client().native_ptr();
    // SAFETY: the client lives as long as the borrow of `client`.
    let id = unsafe { rd_kafka_memberid(native) };
    if id.is_null() {
        return String::new();
    }
    // SAFETY: `id` is a copy that was allocated by the client for this call, ends with a NUL, and is freed once, here.
    unsafe {
        let text = CStr::from_ptr(id).to_string_lossy().into_owned();
        rd_kafka_mem_free(native, id.cast());
        text
    }
}

/// Writes the client's position in each partition into `partitions`: the offset after the last one that it has handed out, or
/// passed because it has no record for this reader. It makes no request, and does not read the assignment as rdkafka's own
/// function does, which would wait.
pub(super) fn positions(client: &BaseConsumer<Context>, partitions: &TopicPartitionList) {
    // SAFETY: the client is alive while it is borrowed, and so is the list. The function writes offsets and errors of existing
    // elements only.
    unsafe { rd_kafka_position(client.client().native_ptr(), partitions.ptr()) };
}

/// Returns the name and value of the header at `index`; `None` after the last one. A NUL ends the name, as everywhere in
/// librdkafka.
pub(super) fn header(headers: &BorrowedHeaders, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: `&BorrowedHeaders` is the client's own pointer, cast by rdkafka, and is valid for this borrow. The other pointers
    // are to variables that outlive the call.
    let code =
        unsafe { rd_kafka_header_get_all(ptr::from_ref(headers).cast(), index, &raw mut name, &raw mut value, &raw mut size) };
    if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
        return None;
    }
    // SAFETY: the client ends every name with a NUL, and keeps it, and the `size` bytes of a non-null value, as long as the
    // headers.
    unsafe { Some((CStr::from_ptr(name).to_bytes(), (!value.is_null()).then(|| slice::from_raw_parts(value.cast(), size)))) }
}

/// The identity of a topic as the cluster reports it, `None` if it has none; or why it is not reported.
pub(crate) type Identity = Result<Option<String>, Code>;

/// Requests the identities of topics, and waits for the answer.
///
/// # Errors
/// If there is no answer in time, or the request fails.
pub(crate) fn identities<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topics: &[CString],
    patience: Duration,
) -> Result<Vec<(String, Identity)>, Code> {
    let native = client.client().native_ptr();
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    let mut names: Vec<_> = topics.iter().map(|topic| topic.as_ptr()).collect();
    // SAFETY: `native` is a client that lives as long as the borrow of `client`. The names are NUL-terminated and outlive the
    // calls, which copy them; the array has the given length. Everything that is created here is destroyed once below and not
    // used afterwards; a late answer finds its queue closed. The error string of the timeout option is not requested: its buffer
    // has size 0.
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
    // SAFETY: the event is alive until it is destroyed here, once. Everything that is read from it is copied.
    unsafe {
        let found = described(event);
        rd_kafka_event_destroy(event);
        found
    }
}

/// Reads the answer to [`identities`].
///
/// # Safety
/// `event` must be alive.
unsafe fn described(event: *mut rd_kafka_event_t) -> Result<Vec<(String, Identity)>, Code> {
    // SAFETY: the event is alive, and owns its result, with the descriptions and their names, errors and ids.
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

/// Reads the name of a topic, and its identity.
///
/// # Safety
/// `topic` must be a description of an event that is alive.
unsafe fn identity(topic: *const rd_kafka_TopicDescription_t) -> (String, Identity) {
    // SAFETY: the description is alive, and so is what it owns; names and ids are NUL-terminated.
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
