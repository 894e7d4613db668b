//! The watermark of a partition: the offset up to which all messages are done.
//!
//! Committing the highest offset that is done would skip unfinished messages below it. So each partition keeps its delivered offsets in
//! order, and only their finished prefix counts.

use std::collections::VecDeque;

/// The delivered offsets of one partition that are not all done yet.
#[derive(Debug, Default, Clone)]
pub struct Watermark {
    /// The offsets that have begun and are not below the prefix, ascending.
    window: VecDeque<Entry>,
    /// The first offset that has not begun yet.
    next: Option<i64>,
    /// The committed offset, as far as this process knows; initially, the offset where it began to read.
    committed: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    /// One bit for each part that is not done.
    open: u64,
}

impl Watermark {
    /// Creates the watermark of a partition where all messages before `offset`, the next one, are done. The committed offset may be lower.
    pub fn starting_at(offset: i64) -> Self {
        Self { next: Some(offset), ..Self::default() }
    }

    /// The most parts of an offset.
    pub const PARTS: usize = 64;

    /// Records that `offset` was delivered. Has no effect for an offset that was delivered before, as after a rewind.
    pub fn begin(&mut self, offset: i64) {
        self.begin_parts(offset, 1);
    }

    /// Like [`begin`](Self::begin), for an offset with several parts, from 1 to [`PARTS`](Self::PARTS). It is done when all its parts are.
    pub fn begin_parts(&mut self, offset: i64, parts: usize) {
        if self.next.is_none_or(|next| offset >= next) {
            let parts = parts.clamp(1, Self::PARTS);
            self.window.push_back(Entry { offset, open: u64::MAX >> (Self::PARTS - parts) });
            self.next = Some(offset + 1);
            self.committed.get_or_insert(offset);
        }
    }

    /// Records that no further record comes before `to`: the log has passed offsets without a record, such as the end of a transaction.
    pub fn pass(&mut self, to: i64) {
        self.next = self.next.max(Some(to));
    }

    /// Records that the effects of `offset` are durable. Has no effect for an unknown offset.
    pub fn finish(&mut self, offset: i64) {
        self.finish_part(offset, 0);
    }

    /// Like [`finish`](Self::finish), for the part with this number, from 0. Has no effect for a part that is done.
    pub fn finish_part(&mut self, offset: i64, part: usize) {
        if let Ok(at) = self.window.binary_search_by_key(&offset, |entry| entry.offset) {
            self.window[at].open &= !(1 << part.min(Self::PARTS - 1));
        }
        while self.window.front().is_some_and(|entry| entry.open == 0) {
            self.window.pop_front();
        }
    }

    /// Returns the offset up to which all messages are done; `None` while nothing is known.
    pub fn prefix(&self) -> Option<i64> {
        self.window.front().map_or(self.next, |entry| Some(entry.offset))
    }

    /// Returns the offset to commit (the next one to read), if it is higher than the committed one.
    pub fn committable(&self) -> Option<i64> {
        let prefix = self.prefix()?;
        self.committed.is_none_or(|committed| prefix > committed).then_some(prefix)
    }

    /// Records that `offset` was committed.
    pub fn committed(&mut self, offset: i64) {
        self.committed = self.committed.max(Some(offset));
    }

    /// Returns the first offset that has not begun yet, if it is known.
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// Returns the number of offsets in the window: unfinished ones, and those that are done behind an unfinished one.
    pub fn window(&self) -> usize {
        self.window.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Watermark;

    #[test]
    fn the_offset_to_commit_is_the_next_to_read() {
        let mut watermark = Watermark::default();
        for offset in [5, 6, 7] {
            watermark.begin(offset);
        }
        watermark.finish(6);
        assert_eq!(watermark.committable(), None, "5 is not done");
        watermark.finish(5);
        assert_eq!(watermark.committable(), Some(7));
    }

    #[test]
    fn only_the_contiguous_prefix_counts() {
        // offsets begun, offsets finished, committable
        let table: [(&[i64], &[i64], Option<i64>); 7] = [
            (&[], &[], None),
            (&[0], &[], None),
            (&[0], &[0], Some(1)),
            (&[0, 1, 2], &[1, 2], None),
            (&[0, 1, 2], &[2, 0], Some(1)),
            (&[7, 9, 20], &[7, 9], Some(20)),
            (&[7, 9, 20], &[20, 9, 7], Some(21)),
        ];
        for (begun, finished, expected) in table {
            let mut watermark = Watermark::default();
            begun.iter().for_each(|offset| watermark.begin(*offset));
            finished.iter().for_each(|offset| watermark.finish(*offset));
            assert_eq!(watermark.committable(), expected, "begun {begun:?}, finished {finished:?}");
        }
    }

    #[test]
    fn an_offset_is_done_when_all_its_parts_are() {
        for parts in [1, 2, 3, Watermark::PARTS] {
            let mut watermark = Watermark::default();
            watermark.begin_parts(5, parts);
            for part in (1..parts).rev() {
                watermark.finish_part(5, part);
                watermark.finish_part(5, part);
                assert_eq!(watermark.committable(), None, "{part} of {parts}");
            }
            watermark.finish_part(5, 0);
            assert_eq!(watermark.committable(), Some(6), "{parts}");
        }
    }

    #[test]
    fn where_it_starts_is_done_and_can_be_committed() {
        let mut watermark = Watermark::starting_at(7);
        assert_eq!((watermark.prefix(), watermark.committable()), (Some(7), Some(7)));
        watermark.committed(7);
        watermark.begin(9);
        assert_eq!((watermark.prefix(), watermark.committable()), (Some(9), Some(9)));
        watermark.finish(9);
        assert_eq!((watermark.prefix(), watermark.committable()), (Some(10), Some(10)));
        assert_eq!(Watermark::default().prefix(), None);
    }

    #[test]
    fn what_has_no_record_is_passed_when_all_before_it_is_done() {
        let mut watermark = Watermark::default();
        watermark.begin(3);
        watermark.pass(5);
        assert_eq!((watermark.prefix(), watermark.committable()), (Some(3), None), "3 is not done");
        watermark.finish(3);
        assert_eq!((watermark.next(), watermark.committable()), (Some(5), Some(5)));
        watermark.committed(5);
        watermark.pass(4);
        assert_eq!((watermark.next(), watermark.committable()), (Some(5), None), "never back");
        // Only ends of transactions, no record.
        let mut watermark = Watermark::default();
        watermark.pass(2);
        assert_eq!(watermark.committable(), Some(2));
    }

    #[test]
    fn a_rewind_changes_nothing() {
        let mut watermark = Watermark::default();
        [3, 4, 5].into_iter().for_each(|offset| watermark.begin(offset));
        watermark.finish(3);
        watermark.committed(4);
        [3, 4].into_iter().for_each(|offset| watermark.begin(offset));
        watermark.finish(3);
        assert_eq!(watermark.committable(), None);
        watermark.finish(4);
        assert_eq!(watermark.committable(), Some(5));
    }

    proptest! {
        /// For any order of begins, finishes, commits and rewinds: the committable offset is never above an unfinished offset, never
        /// decreases, and reaches the end when all is finished.
        #[test]
        fn nothing_unfinished_is_ever_committed(
            steps in proptest::collection::vec((0_u8..5, 0_usize..64), 1..400),
            gaps in proptest::collection::vec(1_i64..4, 64),
        ) {
            let offsets: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut watermark = Watermark::default();
            let (mut begun, mut open, mut last) = (0, BTreeSet::new(), offsets[0]);
            for (what, which) in steps {
                match what {
                    0 if begun < offsets.len() => {
                        watermark.begin(offsets[begun]);
                        open.insert(offsets[begun]);
                        begun += 1;
                    }
                    1 if begun > 0 => {
                        let offset = offsets[which % begun];
                        watermark.finish(offset);
                        open.remove(&offset);
                    }
                    2 if begun > 0 => watermark.begin(offsets[which % begun]),
                    3 => if let Some(offset) = watermark.committable() { watermark.committed(offset); last = offset; },
                    // Pass up to the next record, never beyond one that was not delivered.
                    4 if (1..offsets.len()).contains(&begun) => watermark.pass(offsets[begun]),
                    _ => {}
                }
                if let Some(offset) = watermark.committable() {
                    prop_assert!(offset > last);
                    prop_assert!(open.first().is_none_or(|unfinished| offset <= *unfinished));
                }
            }
            for offset in open {
                watermark.finish(offset);
            }
            if begun > 0 {
                let end = watermark.next().unwrap_or(0);
                prop_assert!(end > offsets[begun - 1] && offsets.get(begun).is_none_or(|next| end <= *next));
                prop_assert_eq!(watermark.committable().unwrap_or(last), end);
                prop_assert_eq!(watermark.window(), 0);
            }
        }
    }
}
