//! Gaps: records that are missing in the log at the offset where a partition should continue.

use std::{fmt, sync::Arc};

use crate::{message::TopicPartition, transport::Transport};

/// Why the next record does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The record was removed, for example by retention.
    Removed,
    /// The log ends before this offset.
    Cut,
    /// The topic was deleted and created again. Contains the identity of the new log.
    Recreated(Arc<str>),
}

/// The log does not have the next record of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) partition: TopicPartition,
    /// The next offset to read.
    pub(crate) wanted: i64,
    /// The oldest offset in the log, or 0 for a recreated topic.
    pub(crate) oldest: i64,
    /// The offset that the next produced record gets, where it is known.
    pub(crate) end: i64,
    pub(crate) cause: Cause,
}

impl Gap {
    /// Creates a gap that the subscription has reported.
    pub(crate) fn told(partition: TopicPartition, wanted: i64, oldest: i64, end: i64) -> Self {
        let cause = if wanted < oldest { Cause::Removed } else { Cause::Cut };
        Self { partition, wanted, oldest, end, cause }
    }

    /// Creates the gap of a recreated topic: `log` is its new identity, and `wanted` is an offset of the old one. The partition continues
    /// at offset 0. If the new log has already removed records, they are another gap.
    pub(crate) fn recreated(partition: TopicPartition, wanted: i64, log: Arc<str>) -> Self {
        Self { partition, wanted, oldest: 0, end: 0, cause: Cause::Recreated(log) }
    }

    /// Returns the gap with the topic's name in the log, for messages to operators.
    pub(crate) fn in_log(&self, log: &dyn Transport) -> Self {
        Self { partition: TopicPartition::new(log.name_in_log(&self.partition.topic), self.partition.partition), ..self.clone() }
    }

    /// Returns the number of records that are skipped by continuing at the oldest one. It is 0 if the log ends early or the topic was
    /// recreated, because the number is unknown.
    pub(crate) fn skipped(&self) -> u64 {
        match self.cause {
            Cause::Removed => u64::try_from(self.oldest - self.wanted).unwrap_or(0),
            Cause::Cut | Cause::Recreated(_) => 0,
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, wanted, oldest, end, cause } = self;
        match cause {
            Cause::Removed => write!(
                f,
                "{partition}: records {wanted} to {} were removed from the log before they were read; to go on from the oldest \
                 that is there, {oldest}, start the service with the setting `on_gap = \"oldest\"`",
                oldest - 1
            ),
            Cause::Cut => write!(
                f,
                "{partition}: record {wanted} is next, and the log ends at {end}: its end was lost, or the topic was created again; \
                 restore it, or, to read it from its oldest record, {oldest}, start the service with the setting `on_gap = \"oldest\"`"
            ),
            Cause::Recreated(_) => write!(
                f,
                "{partition}: the topic was deleted and created again, or its name in the deployment now means another topic: record \
                 {wanted} of the former topic was next, and its unread records are lost; to read the new topic from its oldest record, \
                 start the service with the setting `on_gap = \"oldest\"`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_records_and_the_fix() {
        let gap = |wanted| Gap::told(TopicPartition::new("orders", 3), wanted, 8, 10);
        let removed = gap(5);
        assert_eq!(removed.skipped(), 3);
        let text = removed.to_string();
        assert!(text.starts_with("orders-3: records 5 to 7 were removed") && text.contains("on_gap = \"oldest\""), "{text}");
        let cut = gap(15);
        assert_eq!(cut.skipped(), 0);
        let text = cut.to_string();
        assert!(text.contains("record 15 is next, and the log ends at 10") && text.contains("on_gap = \"oldest\""), "{text}");
        let anew = Gap::recreated(TopicPartition::new("orders", 3), 15, "b".into());
        assert_eq!(anew.skipped(), 0);
        let text = anew.to_string();
        assert!(
            text.starts_with("orders-3: the topic was deleted and created again") && text.contains("on_gap = \"oldest\""),
            "{text}"
        );
    }
}
