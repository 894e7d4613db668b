//! Records that are missing where a partition should be read on.

use std::fmt;

use crate::message::TopicPartition;

/// The log does not have the record that is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) partition: TopicPartition,
    /// The next offset to read.
    pub(crate) wanted: i64,
    /// The oldest offset in the log.
    pub(crate) oldest: i64,
    /// The offset of the next record to be written.
    pub(crate) end: i64,
}

impl Gap {
    /// How many records are passed over by going on from the oldest. Of a topic that was made anew it is none that is known of.
    pub(crate) fn skipped(&self) -> u64 {
        u64::try_from(self.oldest - self.wanted).unwrap_or(0)
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, wanted, oldest, end } = self;
        if wanted < oldest {
            write!(
                f,
                "{partition}: records {wanted} to {} were removed from the log before they were read; to go on from the oldest \
                 that is there, {oldest}, start the service with the setting `on_gap = \"oldest\"`",
                oldest - 1
            )
        } else {
            write!(
                f,
                "{partition}: record {wanted} is next, and the log ends at {end}: the topic was made anew; restore it, or, to \
                 read it from its oldest record, {oldest}, start the service with the setting `on_gap = \"oldest\"`"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_records_and_the_fix() {
        let gap = |wanted| Gap { partition: TopicPartition::new("orders", 3), wanted, oldest: 8, end: 10 };
        let removed = gap(5);
        assert_eq!(removed.skipped(), 3);
        let text = removed.to_string();
        assert!(text.starts_with("orders-3: records 5 to 7 were removed") && text.contains("on_gap = \"oldest\""), "{text}");
        let anew = gap(15);
        assert_eq!(anew.skipped(), 0);
        let text = anew.to_string();
        assert!(text.contains("record 15 is next, and the log ends at 10") && text.contains("on_gap = \"oldest\""), "{text}");
    }
}
