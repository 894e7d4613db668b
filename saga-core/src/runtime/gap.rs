//! Records that are missing where a partition should be read on.

use std::{fmt, sync::Arc};

use crate::message::TopicPartition;

/// Why the record that is next is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It was removed, as by retention.
    Removed,
    /// The log ends before it.
    Cut,
    /// The topic was deleted and created again, and is this log now.
    Recreated(Arc<str>),
}

/// The log does not have the record that is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) partition: TopicPartition,
    /// The next offset to read.
    pub(crate) wanted: i64,
    /// The oldest offset in the log; of a topic that was made anew, its first.
    pub(crate) oldest: i64,
    /// The offset of the next record to be written, where that is known.
    pub(crate) end: i64,
    pub(crate) cause: Cause,
}

impl Gap {
    /// One that the subscription tells.
    pub(crate) fn told(partition: TopicPartition, wanted: i64, oldest: i64, end: i64) -> Self {
        let cause = if wanted < oldest { Cause::Removed } else { Cause::Cut };
        Self { partition, wanted, oldest, end, cause }
    }

    /// The topic is `log` now, and `wanted` an offset of the one before. It is read from its first offset: what of it is gone already is
    /// a gap of its own.
    pub(crate) fn recreated(partition: TopicPartition, wanted: i64, log: Arc<str>) -> Self {
        Self { partition, wanted, oldest: 0, end: 0, cause: Cause::Recreated(log) }
    }

    /// How many records are passed over by going on from the oldest. Of another log it is none that is known of.
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
                "{partition}: record {wanted} is next, and the log ends at {end}: its end was lost, or the topic was made anew; restore \
                 it, or, to read it from its oldest record, {oldest}, start the service with the setting `on_gap = \"oldest\"`"
            ),
            Cause::Recreated(_) => write!(
                f,
                "{partition}: the topic was deleted and created again, and is another log now: record {wanted} of the one before was \
                 next, and what of it was not read is lost; to read the new one from its oldest record, start the service with the \
                 setting `on_gap = \"oldest\"`"
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
