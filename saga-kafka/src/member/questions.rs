//! Requests to the log. The thread needs their answers, but must not wait for them.

use std::sync::Arc;

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer as _};
use saga_core::transport::TransportError;

use super::{
    commands::{Answer, Asked, Why},
    context::named,
    feed::Feed,
};
use crate::{
    error::unavailable,
    net::caught,
    observer::{self, Client, Observer},
};

/// Requests the committed offsets of the group.
pub(super) fn committed(observer: &Observer, feed: &Arc<Feed>, group: &str, asked: Vec<Asked>) {
    let answers = Arc::clone(feed);
    let group = group.to_owned();
    let question = {
        let asked = asked.clone();
        move |client: &Client| {
            let found = caught(|| look_up(client, &group, &asked)).unwrap_or_else(panicked);
            answers.answer(match found {
                Ok(found) => Answer::CommittedOffsets(asked.into_iter().zip(found).collect()),
                Err(error) => Answer::OffsetsUnavailable(asked, error),
            });
        }
    };
    if !observer.put(question) {
        feed.answer(Answer::OffsetsUnavailable(asked, TransportError::Unavailable("too many questions wait for the log".into())));
    }
}

/// Requests the oldest offsets and the ends of partitions.
pub(super) fn bounds(observer: &Observer, feed: &Arc<Feed>, asked: Vec<Asked>, why: Why) {
    let answers = Arc::clone(feed);
    let question = move |client: &Client| {
        let both = || Ok((offsets(client, &asked, Offset::Beginning)?, offsets(client, &asked, Offset::End)?));
        answers.answer(match caught(both).unwrap_or_else(panicked) {
            Ok((oldest, ends)) => {
                let bounds = asked.into_iter().zip(oldest.into_iter().zip(ends));
                let known = bounds.filter_map(|(asked, (oldest, end))| Some((asked, oldest?, end?)));
                Answer::Bounds(known.collect(), why)
            }
            Err(error) => {
                tracing::debug!(%error, "asking for the ends of partitions");
                Answer::NoBounds(why)
            }
        });
    };
    if !observer.put(question) {
        feed.answer(Answer::NoBounds(why));
    }
}

/// The thread expects an answer in every case.
fn panicked<T>(text: String) -> Result<T, TransportError> {
    tracing::error!(panic = text, "a question of a member panicked");
    Err(TransportError::Unavailable(format!("a question to the log panicked: {text}")))
}

fn look_up(client: &Client, group: &str, asked: &[Asked]) -> Result<Vec<Option<i64>>, TransportError> {
    let what = || format!("asking what the group `{group}` has committed");
    let list = list(asked, Offset::Invalid);
    let found = client.committed_offsets(list, observer::PATIENCE).map_err(|error| unavailable(&what(), &error))?;
    in_order(asked, &found).map_err(|code| crate::error::unavailable_by(&what(), code, ""))
}

/// The oldest offset, or the end, of each partition.
fn offsets(client: &Client, asked: &[Asked], which: Offset) -> Result<Vec<Option<i64>>, TransportError> {
    let what = "asking for the ends of partitions";
    let found = client.offsets_for_times(list(asked, which), observer::PATIENCE).map_err(|error| unavailable(what, &error))?;
    in_order(asked, &found).map_err(|code| crate::error::unavailable_by(what, code, ""))
}

fn list(asked: &[Asked], offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(asked.len());
    for Asked { partition, .. } in asked {
        // Fails only for offsets that cannot be represented as a number.
        let _ = list.add_partition_offset(&partition.topic, partition.partition, offset);
    }
    list
}

/// The offsets of a list in the order of `asked`; an error of one partition is returned for all.
fn in_order(asked: &[Asked], found: &TopicPartitionList) -> Result<Vec<Option<i64>>, rdkafka::types::RDKafkaErrorCode> {
    let found: Vec<_> = named(found).collect();
    asked
        .iter()
        .map(|asked| match found.iter().find(|(partition, _, _)| *partition == asked.partition) {
            Some((_, _, Some(code))) => Err(*code),
            Some((_, offset, None)) => Ok((*offset >= 0).then_some(*offset)),
            None => Ok(None),
        })
        .collect()
}
