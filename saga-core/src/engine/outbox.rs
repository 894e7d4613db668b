//! Which outbox rows may be sent now.
//!
//! Rows get their ids inside transactions that run side by side, and become visible when those commit, in any order. A row is
//! sent when its transaction has committed and no earlier row of its key is still unsent: that keeps the order of a key from
//! the database to the log.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

/// What keeps the order of rows: a topic and a key.
pub type OrderKey = (String, Bytes);

/// The transaction that rows are written in, as the ledger knows it.
///
/// Ids alone do not tell: a database may give the ids of a transaction that was rolled back to the next one, before the end of
/// the first is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Written in a transaction that is still open.
    Staged,
    /// The transaction ended, and it is not known how.
    Doubtful,
    /// Committed, to be sent.
    Ready,
    /// With the transport.
    Sending,
    /// Acknowledged, to be removed from the database.
    Sent,
}

#[derive(Debug)]
struct Row<T> {
    key: OrderKey,
    payload: T,
    state: State,
    ticket: Ticket,
}

/// The rows of a service's outbox that this process knows, by id.
#[derive(Debug)]
pub struct Ledger<T> {
    rows: BTreeMap<i64, Row<T>>,
    /// Of each key, the ids that are not sent yet, ascending.
    unsent: HashMap<OrderKey, VecDeque<i64>>,
    ready: BTreeSet<i64>,
    sent: Vec<i64>,
    tickets: u64,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), unsent: HashMap::new(), ready: BTreeSet::new(), sent: Vec::new(), tickets: 0 }
    }
}

impl<T: Clone> Ledger<T> {
    /// A ticket for a new transaction.
    pub fn begin(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Takes note of a row written in the open transaction of `ticket`. It takes the place of a row with the same id that has not
    /// committed, and never will: the database has given its id away.
    pub fn stage(&mut self, ticket: Ticket, id: i64, key: OrderKey, payload: T) {
        match self.rows.get(&id).map(|row| row.state) {
            None => {}
            Some(State::Staged | State::Doubtful) => self.forget_unsent(id),
            Some(State::Ready | State::Sending | State::Sent) => return,
        }
        let unsent = self.unsent.entry(key.clone()).or_default();
        unsent.insert(unsent.partition_point(|other| *other < id), id);
        self.rows.insert(id, Row { key, payload, state: State::Staged, ticket });
    }

    /// Takes note that the rows' transaction has committed, or that they were found in the database.
    pub fn commit(&mut self, ticket: Ticket, ids: &[i64]) {
        for id in ids {
            if let Some(row) = self.rows.get_mut(id)
                && row.ticket == ticket
                && matches!(row.state, State::Staged | State::Doubtful)
            {
                row.state = State::Ready;
                self.ready.insert(*id);
            }
        }
    }

    /// Takes note that the rows' transaction was rolled back, or that they were not found in the database.
    pub fn roll_back(&mut self, ticket: Ticket, ids: &[i64]) {
        let open = |row: &Row<T>| row.ticket == ticket && matches!(row.state, State::Staged | State::Doubtful);
        for id in ids {
            if self.rows.get(id).is_some_and(open) {
                self.forget_unsent(*id);
                self.rows.remove(id);
            }
        }
    }

    /// Takes note that it is not known whether the rows' transaction has committed. They hold their keys back until
    /// [`commit`](Self::commit) or [`roll_back`](Self::roll_back) says it.
    pub fn doubt(&mut self, ticket: Ticket, ids: &[i64]) {
        for id in ids {
            if let Some(row) = self.rows.get_mut(id)
                && row.ticket == ticket
                && row.state == State::Staged
            {
                row.state = State::Doubtful;
            }
        }
    }

    /// The rows in doubt, by id, and their transactions.
    pub fn doubtful(&self) -> Vec<(i64, Ticket)> {
        self.rows.iter().filter(|(_, row)| row.state == State::Doubtful).map(|(id, row)| (*id, row.ticket)).collect()
    }

    /// Takes at most `most` rows to be sent, in order. Rows of one key follow each other in one call; of a key that is with the
    /// transport, none is taken.
    ///
    /// Rows of a topic for which `wanted` is false are left alone.
    pub fn take(&mut self, most: usize, wanted: impl Fn(&str) -> bool) -> Vec<(i64, T)> {
        let mut taken = Vec::new();
        for id in &self.ready {
            if taken.len() == most {
                break;
            }
            let Some(row) = self.rows.get(id).filter(|row| wanted(&row.key.0)) else { continue };
            // All earlier rows of the key must have been taken in this very call.
            let first = self.unsent.get(&row.key).into_iter().flatten().take_while(|other| *other < id);
            if first.into_iter().all(|earlier| taken.binary_search_by_key(earlier, |(id, _)| *id).is_ok()) {
                taken.push((*id, row.payload.clone()));
            }
        }
        for (id, _) in &taken {
            self.ready.remove(id);
            if let Some(row) = self.rows.get_mut(id) {
                row.state = State::Sending;
            }
        }
        taken
    }

    /// Takes note that the log has stored a row.
    pub fn sent(&mut self, id: i64) {
        if self.rows.get(&id).is_some_and(|row| row.state == State::Sending) {
            self.forget_unsent(id);
            self.sent.push(id);
            if let Some(row) = self.rows.get_mut(&id) {
                row.state = State::Sent;
            }
        }
    }

    /// Takes note that the log did not store a row: it is sent again.
    pub fn failed(&mut self, id: i64) {
        if let Some(row) = self.rows.get_mut(&id)
            && row.state == State::Sending
        {
            row.state = State::Ready;
            self.ready.insert(id);
        }
    }

    /// Takes the rows that were sent and are to be removed from the database.
    pub fn take_sent(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.sent)
    }

    /// Takes note that rows were removed from the database.
    pub fn removed(&mut self, ids: &[i64]) {
        ids.iter().for_each(|id| {
            self.rows.remove(id);
        });
    }

    /// Takes note that rows could not be removed: they are tried again.
    pub fn not_removed(&mut self, ids: Vec<i64>) {
        self.sent.extend(ids);
    }

    /// Whether a row could be taken, of a topic for which `wanted` is true.
    pub fn has_ready(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let first = |id: &i64| {
            let row = self.rows.get(id).filter(|row| wanted(&row.key.0))?;
            Some(self.unsent.get(&row.key)?.front()? == id)
        };
        self.ready.iter().any(|id| first(id).unwrap_or(false))
    }

    /// Whether rows are in doubt.
    pub fn has_doubtful(&self) -> bool {
        self.rows.values().any(|row| row.state == State::Doubtful)
    }

    /// Whether rows wait to be removed.
    pub fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// How many rows are in the outbox, those to be removed included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the outbox is empty.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The oldest row that is not sent.
    pub fn oldest(&self) -> Option<&T> {
        self.rows.values().find(|row| row.state != State::Sent).map(|row| &row.payload)
    }

    fn forget_unsent(&mut self, id: i64) {
        let Some(row) = self.rows.get(&id) else { return };
        if let Some(unsent) = self.unsent.get_mut(&row.key) {
            unsent.retain(|other| *other != id);
            if unsent.is_empty() {
                self.unsent.remove(&row.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &'static str) -> OrderKey {
        ("orders".into(), Bytes::from_static(name.as_bytes()))
    }

    fn ids(taken: Vec<(i64, ())>) -> Vec<i64> {
        taken.into_iter().map(|(id, ())| id).collect()
    }

    #[test]
    fn an_open_transaction_holds_its_keys_back_and_no_others() {
        let mut ledger = Ledger::default();
        let ticket = ledger.begin();
        ledger.stage(ticket, 1, key("a"), ());
        ledger.stage(ticket, 2, key("a"), ());
        ledger.stage(ticket, 3, key("b"), ());
        ledger.commit(ticket, &[2, 3]);
        assert_eq!(ids(ledger.take(10, |_| true)), [3]);
        ledger.commit(ticket, &[1]);
        assert_eq!(ids(ledger.take(10, |_| true)), [1, 2]);
    }

    #[test]
    fn a_row_behind_an_open_transaction_is_not_ready() {
        let mut ledger = Ledger::default();
        let ticket = ledger.begin();
        ledger.stage(ticket, 1, key("a"), ());
        ledger.stage(ticket, 2, key("a"), ());
        ledger.commit(ticket, &[2]);
        assert!(!ledger.has_ready(|_| true));
        ledger.commit(ticket, &[1]);
        assert!(ledger.has_ready(|_| true));
    }

    #[test]
    fn a_topic_can_be_left_alone() {
        let mut ledger = Ledger::default();
        let ticket = ledger.begin();
        ledger.stage(ticket, 1, key("a"), ());
        ledger.stage(ticket, 2, ("payments".into(), Bytes::new()), ());
        ledger.commit(ticket, &[1, 2]);
        assert_eq!(ids(ledger.take(9, |topic| topic != "orders")), [2]);
        assert!(!ledger.has_ready(|topic| topic != "orders") && ledger.has_ready(|topic| topic == "orders"));
    }

    #[test]
    fn a_rollback_frees_the_key() {
        let mut ledger = Ledger::default();
        let ticket = ledger.begin();
        ledger.stage(ticket, 1, key("a"), ());
        ledger.stage(ticket, 2, key("a"), ());
        ledger.commit(ticket, &[2]);
        ledger.roll_back(ticket, &[1]);
        assert_eq!(ids(ledger.take(10, |_| true)), [2]);
    }

    #[test]
    fn a_row_in_doubt_holds_its_key_back_until_it_is_known() {
        let mut ledger = Ledger::default();
        let ticket = ledger.begin();
        ledger.stage(ticket, 1, key("a"), ());
        ledger.stage(ticket, 2, key("a"), ());
        ledger.doubt(ticket, &[1]);
        ledger.commit(ticket, &[2]);
        assert_eq!((ids(ledger.take(10, |_| true)), ledger.doubtful()), (vec![], vec![(1, ticket)]));
        ledger.commit(ticket, &[1]);
        assert_eq!(ids(ledger.take(10, |_| true)), [1, 2]);
    }

    #[test]
    fn an_id_that_is_given_again_is_another_row() {
        let mut ledger = Ledger::default();
        let (first, second) = (ledger.begin(), ledger.begin());
        ledger.stage(first, 1, key("a"), "first");
        ledger.stage(second, 1, key("b"), "second");
        ledger.doubt(first, &[1]);
        ledger.roll_back(first, &[1]);
        ledger.stage(second, 2, key("a"), "behind");
        ledger.commit(second, &[1, 2]);
        assert_eq!(ledger.take(9, |_| true), [(1, "second"), (2, "behind")]);
    }

    #[test]
    fn a_failed_row_is_sent_again_before_its_followers() {
        let mut ledger = Ledger::default();
        let ticket = ledger.begin();
        (1..=3).for_each(|id| ledger.stage(ticket, id, key("a"), ()));
        ledger.commit(ticket, &[1, 2, 3]);
        assert_eq!(ids(ledger.take(2, |_| true)), [1, 2]);
        assert!(ledger.take(2, |_| true).is_empty());
        ledger.failed(1);
        ledger.failed(2);
        assert_eq!(ids(ledger.take(10, |_| true)), [1, 2, 3]);
        (1..=3).for_each(|id| ledger.sent(id));
        let sent = ledger.take_sent();
        assert_eq!((sent.as_slice(), ledger.len()), (&[1, 2, 3][..], 3));
        ledger.removed(&sent);
        assert!(ledger.is_empty());
    }

    proptest! {
        /// Whatever is staged, committed, rolled back, sent and failed in whatever order: the rows of a key are sent in the
        /// order of their ids, no row that committed is lost, and none that did not is sent.
        #[test]
        fn rows_leave_in_order_and_none_is_lost(steps in proptest::collection::vec((0_u8..6, 0_usize..40, 0_u8..3), 1..300)) {
            let mut ledger = Ledger::default();
            let ticket = ledger.begin();
            let (mut next, mut open, mut sending) = (1_i64, Vec::<i64>::new(), Vec::<(i64, u8)>::new());
            let (mut committed, mut sent) = (Vec::new(), HashMap::<u8, Vec<i64>>::new());
            for (what, which, of) in steps {
                match what {
                    0 | 1 => {
                        ledger.stage(ticket, next, ("t".into(), Bytes::from(vec![of])), of);
                        open.push(next);
                        next += 1;
                    }
                    2 | 3 if !open.is_empty() => {
                        let id = open.remove(which % open.len());
                        if of == 0 { ledger.roll_back(ticket, &[id]) } else { ledger.commit(ticket, &[id]); committed.push(id); }
                    }
                    4 if sending.is_empty() => sending = ledger.take(which, |_| true),
                    5 => {
                        // A batch is answered by a prefix that is stored.
                        let stored = which % (sending.len() + 1);
                        for (at, (id, of)) in std::mem::take(&mut sending).into_iter().enumerate() {
                            if at < stored { ledger.sent(id); sent.entry(of).or_default().push(id) } else { ledger.failed(id) }
                        }
                    }
                    _ => {}
                }
            }
            sending.iter().for_each(|(id, _)| ledger.failed(*id));
            ledger.roll_back(ticket, &open);
            for (id, of) in ledger.take(usize::MAX, |_| true) {
                ledger.sent(id);
                sent.entry(of).or_default().push(id);
            }
            prop_assert!(sent.values().all(|ids| ids.is_sorted()));
            let mut all: Vec<i64> = sent.into_values().flatten().collect();
            all.sort_unstable();
            committed.sort_unstable();
            prop_assert_eq!(all, committed);
        }
    }
}
