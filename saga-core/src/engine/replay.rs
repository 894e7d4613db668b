//! Which records of a partition are read again, and when a replay is finished.

/// The offsets that a partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionBounds {
    /// The oldest offset that exists.
    pub oldest: i64,
    /// The offset of the next record.
    pub end: i64,
}

/// A range of offsets, with `from` and without `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first offset.
    pub from: i64,
    /// The offset after the last one.
    pub to: i64,
}

impl Range {
    /// Returns the number of offsets in the range. The number of records is at most this.
    pub fn span(self) -> i64 {
        self.to - self.from
    }
}

/// Why a range cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidRange {
    /// The log has removed the first records of the range.
    BeforeTheOldest {
        /// The first offset of the requested range.
        from: i64,
        /// The oldest offset that exists.
        oldest: i64,
    },
    /// The range contains no record.
    Empty {
        /// The first offset of the range.
        from: i64,
        /// The offset after the last one.
        to: i64,
    },
}

impl std::fmt::Display for InvalidRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BeforeTheOldest { from, oldest } => {
                write!(f, "offset {from} is not in the log any more; its oldest is {oldest}: replay from there")
            }
            Self::Empty { from, to } => write!(f, "there is no record from offset {from} up to {to}"),
        }
    }
}

/// Returns the range from `from` up to `to`, or up to the present end of the partition.
///
/// # Errors
/// Returns an error if the log has removed the first records of the range, or if the range is empty.
pub fn range(held: PartitionBounds, from: i64, to: Option<i64>) -> Result<Range, InvalidRange> {
    if from < held.oldest {
        return Err(InvalidRange::BeforeTheOldest { from, oldest: held.oldest });
    }
    let to = to.unwrap_or(held.end).min(held.end);
    if from >= to { Err(InvalidRange::Empty { from, to }) } else { Ok(Range { from, to }) }
}

/// The progress of a partition in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The offset up to which all messages are done.
    pub prefix: Option<i64>,
    /// The number of unfinished messages.
    pub open: usize,
    /// A record beyond the range was delivered, or no more records can come.
    pub beyond: bool,
    /// An operator stops the replay.
    pub stopping: bool,
}

/// Returns whether the replay of `range` is finished.
pub fn is_finished(range: Range, progress: Progress) -> bool {
    let read = progress.beyond || progress.stopping || progress.prefix.is_some_and(|prefix| prefix >= range.to);
    read && progress.open == 0
}

/// Returns whether offsets of the log `of` do not belong to the log `read`. False if one of them is unknown.
pub fn is_of_another(of: Option<&str>, read: Option<&str>) -> bool {
    of.zip(read).is_some_and(|(of, read)| of != read)
}

/// Returns the time from which on claims count as duplicates for a record at `offset`, in a range that is handled again since `since`.
///
/// `None`: all claims count, because the record is not handled again.
pub fn again<T>(range: Range, offset: i64, is_parked: bool, since: Option<T>) -> Option<T> {
    // A parked message was claimed and not yet handled. It is handled once, when it is due.
    since.filter(|_| (range.from..range.to).contains(&offset) && !is_parked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_within_what_there_is() {
        let held = PartitionBounds { oldest: 5, end: 20 };
        let table = [
            (5, None, Ok(Range { from: 5, to: 20 })),
            (7, Some(9), Ok(Range { from: 7, to: 9 })),
            (19, Some(99), Ok(Range { from: 19, to: 20 })),
            (4, None, Err(InvalidRange::BeforeTheOldest { from: 4, oldest: 5 })),
            (20, None, Err(InvalidRange::Empty { from: 20, to: 20 })),
            (9, Some(9), Err(InvalidRange::Empty { from: 9, to: 9 })),
            (21, Some(30), Err(InvalidRange::Empty { from: 21, to: 20 })),
        ];
        for (from, to, expected) in table {
            assert_eq!(range(held, from, to), expected, "from {from} to {to:?}");
        }
    }

    #[test]
    fn it_is_over_when_all_of_it_is_done() {
        let range = Range { from: 3, to: 9 };
        let progress = |prefix, open, beyond, stopping| Progress { prefix, open, beyond, stopping };
        let table = [
            (progress(None, 0, false, false), false),
            (progress(Some(8), 0, false, false), false),
            (progress(Some(9), 0, false, false), true),
            (progress(Some(9), 1, false, false), false),
            (progress(Some(5), 0, true, false), true),
            (progress(Some(5), 2, true, true), false),
            (progress(Some(5), 0, false, true), true),
        ];
        for (progress, expected) in table {
            assert_eq!(is_finished(range, progress), expected, "{progress:?}");
        }
    }

    #[test]
    fn only_what_is_in_the_range_and_not_parked_is_handled_again() {
        let range = Range { from: 3, to: 9 };
        let table = [(2, false, None), (3, false, Some(7)), (8, false, Some(7)), (9, false, None), (5, true, None)];
        for (offset, is_parked, expected) in table {
            assert_eq!(again(range, offset, is_parked, Some(7)), expected, "{offset}");
            assert_eq!(again::<i32>(range, offset, is_parked, None), None);
        }
    }
}
