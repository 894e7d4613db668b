//! Which outbox rows may be sent now.
//!
//! Rows get their ids inside transactions that run side by side, and become visible when those commit, in any order. A row is
//! sent when its transaction has committed and no earlier row of its key is still unsent: that keeps the order of a key from
//! the database to the log.
//!
//! Several instances of a service can share a database. Then each sends the rows of its own shards, and rows of those can be
//! committed by all of them. So a row also waits for a *look* into the database that began after its commit and has ended: every
//! row committed before is known then, or is gone from the database, which means that the log has it. This is why the order of a
//! key does not hang on any clock: also two that both take a shard for theirs send, each by itself, no row before an earlier one
//! is in the log.

mod territory;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use self::territory::{Territory, index};
use crate::message::{Shard, Shards};

/// What keeps the order of rows: a topic and a key.
pub type OrderKey = (String, Bytes);

/// The most rows of one shard that a look brings.
const PAGE: usize = 1_000;
/// The fewest it asks for, however many are known already.
const LEAST: usize = 16;

/// The transaction that rows are written in, as the ledger knows it.
///
/// Ids alone do not tell: a database may give the ids of a transaction that was rolled back to the next one, before the end of
/// the first is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// A look into the database for rows that are not known here.
#[derive(Debug)]
pub struct Look {
    number: u64,
    shards: Vec<(Shard, i64)>,
    /// The ids of the rows that are known; they need not come.
    pub known: Vec<i64>,
    /// The most rows of each shard that are to come: those with the smallest ids.
    pub limit: usize,
}

impl Look {
    /// The shards to look into.
    pub fn shards(&self) -> Shards {
        self.shards.iter().map(|(shard, _)| *shard).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Written in a transaction that is still open.
    Staged,
    /// The transaction ended, and it is not known how.
    Doubtful,
    /// Committed, to be sent. How many looks had begun when that was known.
    Ready(u64),
    /// With the transport. It was ready since that look.
    Sending(u64),
    /// Acknowledged, to be removed from the database.
    Sent,
}

#[derive(Debug)]
struct Row<T> {
    key: OrderKey,
    shard: Shard,
    /// The ownership of the shard under which the row came in.
    epoch: i64,
    payload: T,
    state: State,
    ticket: Ticket,
}

/// The rows of a service's outbox that this process knows, by id: those of its own shards.
#[derive(Debug)]
pub struct Ledger<T> {
    rows: BTreeMap<i64, Row<T>>,
    /// Of each key, the ids that are not sent yet, ascending.
    unsent: HashMap<OrderKey, VecDeque<i64>>,
    /// Of each topic, the ids that are ready.
    ready: HashMap<String, BTreeSet<i64>>,
    doubtful: BTreeSet<i64>,
    sent: Vec<i64>,
    /// Of each shard, how many rows are with the transport, or sent and not removed.
    busy: [usize; Shard::COUNT],
    tickets: u64,
    territory: Territory,
    /// There may be rows in the database that are not known here.
    look: bool,
}

impl<T: Clone> Ledger<T> {
    /// The ledger of the only process that uses its database: all shards are its own for ever.
    pub fn alone() -> Self {
        Self::new(Territory::alone())
    }

    /// The ledger of one of several processes. It has no shard before [`own`](Self::own) gives it some.
    pub fn shared() -> Self {
        Self::new(Territory::shared())
    }

    fn new(territory: Territory) -> Self {
        Self {
            rows: BTreeMap::new(),
            unsent: HashMap::new(),
            ready: HashMap::new(),
            doubtful: BTreeSet::new(),
            sent: Vec::new(),
            busy: [0; Shard::COUNT],
            tickets: 0,
            territory,
            look: true,
        }
    }

    /// A ticket for a new transaction.
    pub fn begin(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Takes note of a row written in the open transaction of `ticket`, if its shard is ours. It takes the place of a row with the
    /// same id that has not committed, and never will: the database has given its id away.
    pub fn stage(&mut self, ticket: Ticket, id: i64, key: OrderKey, payload: T) {
        let shard = Shard::of(&key.0, &key.1);
        let Some(epoch) = self.territory.epoch(shard) else { return };
        match self.rows.get(&id).map(|row| row.state) {
            None => {}
            Some(State::Staged | State::Doubtful) => self.forget(id),
            Some(State::Ready(_) | State::Sending(_) | State::Sent) => return,
        }
        self.insert(id, Row { key, shard, epoch, payload, state: State::Staged, ticket });
    }

    /// Takes note that the rows' transaction has committed, or that they were found in the database. Gives the shards whose
    /// owners, other instances, have to be told.
    pub fn commit(&mut self, ticket: Ticket, rows: &[(i64, Shard)]) -> Shards {
        let since = self.territory.looks();
        for (id, _) in rows {
            if let Some(row) = self.open(*id, ticket) {
                row.state = State::Ready(since);
                let topic = row.key.0.clone();
                self.ready.entry(topic).or_default().insert(*id);
                self.doubtful.remove(id);
            }
        }
        self.strange(rows)
    }

    /// Takes note that the rows' transaction was rolled back, or that they were not found in the database.
    pub fn roll_back(&mut self, ticket: Ticket, rows: &[(i64, Shard)]) {
        for (id, _) in rows {
            if self.open(*id, ticket).is_some() {
                self.forget(*id);
            }
        }
    }

    /// Takes note that it is not known whether the rows' transaction has committed. They hold their keys back until
    /// [`commit`](Self::commit) or [`roll_back`](Self::roll_back) says it. Gives the shards whose owners, other instances, have to
    /// be told that there may be rows.
    pub fn doubt(&mut self, ticket: Ticket, rows: &[(i64, Shard)]) -> Shards {
        for (id, _) in rows {
            if let Some(row) = self.open(*id, ticket) {
                row.state = State::Doubtful;
                self.doubtful.insert(*id);
            }
        }
        self.strange(rows)
    }

    /// The rows in doubt, by id, and their transactions.
    pub fn doubtful(&self) -> Vec<(i64, Shard, Ticket)> {
        self.doubtful.iter().filter_map(|id| self.rows.get(id).map(|row| (*id, row.shard, row.ticket))).collect()
    }

    /// Whether rows are in doubt.
    pub fn has_doubtful(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Takes at most `most` rows to be sent, in order. Rows of one key follow each other in one call; of a key that is with the
    /// transport, none is taken.
    ///
    /// Rows of a topic for which `wanted` is false are left alone.
    pub fn take(&mut self, most: usize, wanted: impl Fn(&str) -> bool) -> Vec<(i64, T)> {
        let mut topics: Vec<_> =
            self.ready.iter().filter(|(topic, _)| wanted(topic)).map(|(_, ids)| ids.iter().copied().peekable()).collect();
        let mut taken = Vec::new();
        let mut of_key: HashMap<&OrderKey, usize> = HashMap::new();
        while taken.len() < most {
            let oldest = topics.iter_mut().filter_map(|ids| ids.peek().copied().map(|id| (id, ids))).min_by_key(|(id, _)| *id);
            let Some((id, ids)) = oldest else { break };
            ids.next();
            let Some(row) = self.rows.get(&id).filter(|row| self.is_cleared(id, row)) else { continue };
            // All earlier rows of the key must have been taken in this very call.
            let earlier = of_key.entry(&row.key).or_default();
            if self.unsent.get(&row.key).and_then(|unsent| unsent.get(*earlier)) == Some(&id) {
                *earlier += 1;
                taken.push((id, row.payload.clone()));
            }
        }
        for (id, _) in &taken {
            self.not_ready(*id);
            if let Some(row) = self.rows.get_mut(id)
                && let State::Ready(since) = row.state
            {
                row.state = State::Sending(since);
                self.busy[index(row.shard)] += 1;
            }
        }
        taken
    }

    /// The first `most` rows of `topic` that wait to be sent.
    pub fn waiting(&self, topic: &str, most: usize) -> Vec<(i64, T)> {
        let ids = self.ready.get(topic).into_iter().flatten().take(most);
        ids.filter_map(|id| Some((*id, self.rows.get(id)?.payload.clone()))).collect()
    }

    /// Takes note that the log has stored a row.
    pub fn sent(&mut self, id: i64) {
        if let Some(row) = self.rows.get_mut(&id)
            && let State::Sending(_) = row.state
        {
            row.state = State::Sent;
            self.sent.push(id);
            self.forget_unsent(id);
        }
    }

    /// Takes note that the log did not store a row: it is sent again, if its shard is still ours.
    pub fn failed(&mut self, id: i64) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        let State::Sending(since) = row.state else { return };
        self.busy[index(row.shard)] -= 1;
        row.state = State::Ready(since);
        if self.territory.epoch(row.shard) == Some(row.epoch) {
            let topic = row.key.0.clone();
            self.ready.entry(topic).or_default().insert(id);
        } else {
            self.forget(id);
            self.look = true;
        }
    }

    /// Takes note that whoever sent and removed has broken off, in whatever it was doing: what was with the transport is sent again, what
    /// was being removed is removed again, and a look that had begun has brought nothing.
    pub fn broken_off(&mut self) {
        let of = |rows: &BTreeMap<i64, Row<T>>, wanted: fn(State) -> bool| -> Vec<i64> {
            rows.iter().filter(|(_, row)| wanted(row.state)).map(|(id, _)| *id).collect()
        };
        self.sent = of(&self.rows, |state| state == State::Sent);
        for id in of(&self.rows, |state| matches!(state, State::Sending(_))) {
            self.failed(id);
        }
        self.look_failed();
    }

    /// Takes the rows that were sent and are to be removed from the database.
    pub fn take_sent(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.sent)
    }

    /// Takes note that rows were removed from the database.
    pub fn removed(&mut self, ids: &[i64]) {
        for id in ids {
            if let Some(row) = self.rows.remove(id) {
                self.busy[index(row.shard)] -= 1;
            }
        }
    }

    /// Takes note that rows could not be removed: they are tried again.
    pub fn not_removed(&mut self, ids: Vec<i64>) {
        self.sent.extend(ids);
    }

    /// Whether a row could be taken, of a topic for which `wanted` is true.
    pub fn has_ready(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.has_first(wanted, |id, row| self.is_cleared(id, row))
    }

    /// How many rows of `topic` wait to be sent.
    pub fn count_waiting(&self, topic: &str) -> usize {
        self.ready.get(topic).map_or(0, BTreeSet::len)
    }

    /// How many rows wait to be removed.
    pub fn to_remove(&self) -> usize {
        self.sent.len()
    }

    /// How many rows are known, those to be removed included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row is known.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The oldest row that is not sent.
    pub fn oldest(&self) -> Option<&T> {
        self.rows.values().find(|row| row.state != State::Sent).map(|row| &row.payload)
    }

    fn insert(&mut self, id: i64, row: Row<T>) {
        let unsent = self.unsent.entry(row.key.clone()).or_default();
        unsent.insert(unsent.partition_point(|other| *other < id), id);
        self.rows.insert(id, row);
    }

    /// The row with this id, if it is one of the transaction of `ticket`, whose end is not known yet.
    fn open(&mut self, id: i64, ticket: Ticket) -> Option<&mut Row<T>> {
        let open = |row: &&mut Row<T>| row.ticket == ticket && matches!(row.state, State::Staged | State::Doubtful);
        self.rows.get_mut(&id).filter(open)
    }

    /// The shards of those of `rows` that are not known here, because they are others' now.
    fn strange(&mut self, rows: &[(i64, Shard)]) -> Shards {
        let strange: Shards = rows.iter().filter(|(id, _)| !self.rows.contains_key(id)).map(|(_, shard)| *shard).collect();
        // It became ours while the transaction was open.
        self.look |= strange.iter().any(|shard| self.territory.epoch(shard).is_some());
        strange.iter().filter(|shard| self.territory.epoch(*shard).is_none()).collect()
    }

    fn is_cleared(&self, id: i64, row: &Row<T>) -> bool {
        matches!(row.state, State::Ready(since) if self.territory.clears(row.shard, id, since))
    }

    /// Whether there is a ready row, the first of its key, of a wanted topic, that is as asked for.
    fn has_first(&self, wanted: impl Fn(&str) -> bool, is: impl Fn(i64, &Row<T>) -> bool) -> bool {
        let first = |id: &i64| {
            let row = self.rows.get(id)?;
            Some(self.unsent.get(&row.key)?.front()? == id && is(*id, row))
        };
        self.ready.iter().filter(|(topic, _)| wanted(topic)).any(|(_, ids)| ids.iter().any(|id| first(id) == Some(true)))
    }

    fn not_ready(&mut self, id: i64) {
        let Some(topic) = self.rows.get(&id).map(|row| &row.key.0) else { return };
        if let Some(ids) = self.ready.get_mut(topic) {
            ids.remove(&id);
            if ids.is_empty() {
                self.ready.remove(topic);
            }
        }
    }

    /// Drops a row that is not with the transport.
    fn forget(&mut self, id: i64) {
        self.not_ready(id);
        self.forget_unsent(id);
        self.doubtful.remove(&id);
        self.rows.remove(&id);
    }

    fn forget_unsent(&mut self, id: i64) {
        let Some(row) = self.rows.get(&id) else { return };
        if let Some(unsent) = self.unsent.get_mut(&row.key) {
            if let Ok(at) = unsent.binary_search(&id) {
                unsent.remove(at);
            }
            if unsent.is_empty() {
                self.unsent.remove(&row.key);
            }
        }
    }
}

/// What is shared with other instances.
impl<T: Clone> Ledger<T> {
    /// Takes note of the shards that are ours, and of the epoch of each. Rows of others, and of an earlier ownership, are dropped:
    /// they are in the database. What is with the transport is waited for. Gives the shards of which rows were dropped: their owners
    /// have to be told.
    pub fn own(&mut self, leases: &[(Shard, i64)]) -> Shards {
        let lost = self.territory.own(leases);
        let here = |row: &Row<T>| !matches!(row.state, State::Sending(_) | State::Sent);
        let dropped: Vec<_> =
            self.rows.iter().filter(|(_, row)| lost.contains(row.shard) && here(row)).map(|(id, row)| (*id, row.shard)).collect();
        dropped.iter().for_each(|(id, _)| self.forget(*id));
        dropped.into_iter().map(|(_, shard)| shard).collect()
    }

    /// Begins to give up shards beyond `fair`, or keeps some after all. Nothing of a shard that is given up is sent any more.
    pub fn balance(&mut self, fair: usize) {
        self.territory.balance(fair);
    }

    /// The shards that were given up and have nothing with the transport or to be removed: others may have them.
    pub fn vacated(&self) -> Shards {
        self.territory.leaving().filter(|shard| self.busy[index(*shard)] == 0).collect()
    }

    /// Takes note that there may be rows of `shards` in the database that are not known here; says whether that is of interest.
    pub fn hear(&mut self, shards: Shards) -> bool {
        let ours = shards.iter().any(|shard| self.territory.epoch(shard).is_some());
        self.look |= ours;
        ours
    }

    /// Whether to look into the database now. With `most` rows or more known, that is so only if something waits for it.
    pub fn wants_look(&self, most: usize, wanted: impl Fn(&str) -> bool) -> bool {
        if self.territory.staying().next().is_none() {
            return false;
        }
        // Not for every row that leaves.
        let more = || self.territory.is_cut() && (self.rows.len() < most / 2 || !self.has_ready(|_| true));
        self.look
            || self.territory.staying().any(|(shard, _)| self.territory.is_unknown(shard))
            || more()
            || self.has_first(
                wanted,
                |_, row| matches!(row.state, State::Ready(since) if self.territory.awaits_look(row.shard, since)),
            )
    }

    /// Begins a look. `most` is how many rows are to be known at most, more or less. Nothing is to be taken or removed before
    /// [`end_look`](Self::end_look).
    pub fn begin_look(&mut self, most: usize) -> Look {
        self.look = false;
        let shards: Vec<_> = self.territory.staying().collect();
        let room = most.saturating_sub(self.rows.len()) / shards.len().max(1);
        let ours = |row: &Row<T>| shards.iter().any(|(shard, _)| *shard == row.shard);
        let known = self.rows.iter().filter(|(_, row)| ours(row)).map(|(id, _)| *id).collect();
        Look { number: self.territory.begin_look(), shards, known, limit: room.clamp(LEAST, PAGE) }
    }

    /// Takes note of the rows that a look has brought.
    pub fn end_look(&mut self, look: Look, rows: Vec<(i64, OrderKey, T)>) {
        let mut found: HashMap<Shard, (usize, i64)> = HashMap::new();
        let ticket = self.begin();
        for (id, key, payload) in rows {
            let shard = Shard::of(&key.0, &key.1);
            let (count, last) = found.entry(shard).or_insert((0, id));
            (*count, *last) = (*count + 1, id.max(*last));
            let Some((_, epoch)) = look.shards.iter().find(|(looked, _)| *looked == shard) else { continue };
            if self.territory.epoch(shard) != Some(*epoch) || self.rows.contains_key(&id) {
                continue;
            }
            self.ready.entry(key.0.clone()).or_default().insert(id);
            let state = State::Ready(look.number - 1);
            self.insert(id, Row { key, shard, epoch: *epoch, payload, state, ticket });
        }
        for (shard, epoch) in look.shards {
            if self.territory.epoch(shard) == Some(epoch) {
                let horizon = found.get(&shard).filter(|(count, _)| *count >= look.limit).map(|(_, last)| *last);
                self.territory.end_look(shard, look.number, horizon);
            }
        }
    }

    /// Takes note that a look has failed.
    pub fn look_failed(&mut self) {
        self.look = true;
    }
}
