//! How far a partition may be committed: the contiguous prefix of what is done.
//!
//! Committing the highest offset that is done would skip whatever below it is not. So each partition keeps the offsets it
//! was given, in order, and only their finished prefix counts.

use std::collections::VecDeque;

/// The offsets of one partition that were delivered and are not yet all done.
///
/// ```
/// # use saga_core::engine::watermark::Watermark;
/// let mut watermark = Watermark::default();
/// for offset in [5, 6, 7] {
///     watermark.begin(offset);
/// }
/// watermark.finish(6);
/// assert_eq!(watermark.committable(), None); // 5 is not done
/// watermark.finish(5);
/// assert_eq!(watermark.committable(), Some(7)); // the next to read
/// ```
#[derive(Debug, Default, Clone)]
pub struct Watermark {
    /// Offsets begun and not yet below the prefix, ascending.
    window: VecDeque<Entry>,
    /// The first offset that has never been begun.
    next: Option<i64>,
    /// What is committed, as far as this member knows: at first, where it began to read.
    committed: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    done: bool,
}

impl Watermark {
    /// All before `offset`, the next to be delivered, is done. That may be more than is committed.
    pub fn starting_at(offset: i64) -> Self {
        Self { next: Some(offset), ..Self::default() }
    }

    /// Takes note that `offset` was delivered. An offset that was delivered before, as after a rewind, changes nothing.
    pub fn begin(&mut self, offset: i64) {
        if self.next.is_none_or(|next| offset >= next) {
            self.window.push_back(Entry { offset, done: false });
            self.next = Some(offset + 1);
            self.committed.get_or_insert(offset);
        }
    }

    /// Takes note that no record that was not delivered lies before `to`: the log has passed offsets that have none, as that of the end of a
    /// transaction.
    pub fn pass(&mut self, to: i64) {
        self.next = self.next.max(Some(to));
    }

    /// Takes note that the effects of `offset` are durable. An offset that is not waited for changes nothing.
    pub fn finish(&mut self, offset: i64) {
        if let Ok(at) = self.window.binary_search_by_key(&offset, |entry| entry.offset) {
            self.window[at].done = true;
        }
        while self.window.front().is_some_and(|entry| entry.done) {
            self.window.pop_front();
        }
    }

    /// The offset before which all is done; `None` while nothing is known.
    pub fn prefix(&self) -> Option<i64> {
        self.window.front().map_or(self.next, |entry| Some(entry.offset))
    }

    /// The offset to commit (the next one to read), if it is further than what was committed.
    pub fn committable(&self) -> Option<i64> {
        let prefix = self.prefix()?;
        self.committed.is_none_or(|committed| prefix > committed).then_some(prefix)
    }

    /// Takes note that `offset` was committed.
    pub fn committed(&mut self, offset: i64) {
        self.committed = self.committed.max(Some(offset));
    }

    /// The first offset that has never been begun, if that is known.
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// How many offsets the window spans: those running, and those done behind one that is running.
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
        // Nothing but ends of transactions.
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
        /// Whatever is begun, finished, committed and rewound in whatever order: what may be committed is never past an
        /// offset that is unfinished, never goes back, and reaches the end when all is finished.
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
                    // Between two records, never past one that was not delivered.
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
