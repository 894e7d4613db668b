//! Which records of a partition are read once more, and when that is over.

/// What a partition holds: its oldest offset, and the offset of the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The oldest offset that is there.
    pub oldest: i64,
    /// The offset that the next record will get.
    pub end: i64,
}

/// The offsets from the first up to, without it, the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

impl Range {
    /// How many offsets it spans: at least as many as there are records in it.
    pub fn span(self) -> i64 {
        self.to - self.from
    }
}

/// Why a range cannot be read once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Its first records are gone.
    BeforeTheOldest {
        /// What is wanted.
        from: i64,
        /// What there is.
        oldest: i64,
    },
    /// There is nothing in it.
    Empty {
        /// What is wanted.
        from: i64,
        /// Where it ends.
        to: i64,
    },
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BeforeTheOldest { from, oldest } => {
                write!(f, "offset {from} is not in the log any more; its oldest is {oldest}: replay from there")
            }
            Self::Empty { from, to } => write!(f, "there is no record from offset {from} up to {to}"),
        }
    }
}

/// The range from `from` up to `to`, or to where the partition ends now.
///
/// # Errors
/// When its first records are gone, or there is nothing in it.
pub fn range(held: Held, from: i64, to: Option<i64>) -> Result<Range, Unfit> {
    if from < held.oldest {
        return Err(Unfit::BeforeTheOldest { from, oldest: held.oldest });
    }
    let to = to.unwrap_or(held.end).min(held.end);
    if from >= to { Err(Unfit::Empty { from, to }) } else { Ok(Range { from, to }) }
}

/// How far a partition is in its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The offset before which all is done.
    pub prefix: Option<i64>,
    /// How many records are taken and not done.
    pub open: usize,
    /// A record beyond the range has come, or none can come any more.
    pub beyond: bool,
    /// An operator wants it to end.
    pub stopping: bool,
}

/// Whether nothing more of `range` is to be waited for.
pub fn is_over(range: Range, progress: Progress) -> bool {
    let read = progress.beyond || progress.stopping || progress.prefix.is_some_and(|prefix| prefix >= range.to);
    read && progress.open == 0
}

/// Whether offsets `of` one log are not those of the log that is `read`, where both are known.
pub fn is_of_another(of: Option<&str>, read: Option<&str>) -> bool {
    of.zip(read).is_some_and(|(of, read)| of != read)
}

/// Since when claims count, for a record at `offset` of a range that is handled again since `since`. `None`: since ever, as it is
/// not handled again.
pub fn again<T>(range: Range, offset: i64, is_parked: bool, since: Option<T>) -> Option<T> {
    // What is parked was claimed and not handled yet: it is handled once, when it is due.
    since.filter(|_| (range.from..range.to).contains(&offset) && !is_parked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_within_what_there_is() {
        let held = Held { oldest: 5, end: 20 };
        let table = [
            (5, None, Ok(Range { from: 5, to: 20 })),
            (7, Some(9), Ok(Range { from: 7, to: 9 })),
            (19, Some(99), Ok(Range { from: 19, to: 20 })),
            (4, None, Err(Unfit::BeforeTheOldest { from: 4, oldest: 5 })),
            (20, None, Err(Unfit::Empty { from: 20, to: 20 })),
            (9, Some(9), Err(Unfit::Empty { from: 9, to: 9 })),
            (21, Some(30), Err(Unfit::Empty { from: 21, to: 20 })),
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
            assert_eq!(is_over(range, progress), expected, "{progress:?}");
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
