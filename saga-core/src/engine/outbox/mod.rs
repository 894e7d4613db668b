//! Which outbox rows can be sent now.
//!
//! Rows get their ids inside concurrent transactions and become visible when these commit, in any order. A row can be sent when its
//! transaction has committed and all earlier rows of its key are sent. This keeps the order of a key from the database to the log.
//!
//! Several processes of a service can share a database. Each sends the rows of its own shards, while every process can commit rows of any
//! shard. So a row also waits until a *scan* of the database has ended that began after the commit of the row became known. By then the
//! ledger knows all rows that were committed earlier, except those that are no longer in the database, and these are in the log. So the
//! order of a key does not depend on clocks: even if two processes both assume that they own a shard, neither sends a row before all
//! earlier rows of its key are in the log.

mod owned_shards;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use self::owned_shards::{OwnedShards, index};
use crate::message::{Record, Shard, Shards};

/// Rows with the same order key, a topic and a key, are sent in their order.
pub type OrderKey = (String, Bytes);

/// Returns the order key of `record`.
pub fn order_key(record: &Record) -> OrderKey {
    (record.topic.clone(), record.key.clone().unwrap_or_default())
}

/// The most rows of one shard that a scan returns.
const PAGE: usize = 1_000;
/// The fewest rows of one shard that a scan asks for, however many are known already.
const LEAST: usize = 16;

/// Identifies the transaction that rows are written in.
///
/// Ids of rows are not sufficient: a database can reuse the ids of a transaction that was rolled back for the next one, before the ledger
/// learns how the first one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// A scan of the database for rows that the ledger does not know.
#[derive(Debug)]
pub struct OutboxScan {
    number: u64,
    shards: Vec<(Shard, i64)>,
    /// The ids of the known rows, which the scan need not return.
    pub known: Vec<i64>,
    /// The most rows of each shard to return, those with the smallest ids.
    pub limit: usize,
}

impl OutboxScan {
    /// Returns the shards to scan.
    pub fn shards(&self) -> Shards {
        self.shards.iter().map(|(shard, _)| *shard).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Written in a transaction that is still open.
    Staged,
    /// In doubt: the transaction ended, and it is unknown whether it committed.
    Doubtful,
    /// Committed and not yet sent. Contains the number of scans that had begun when the commit became known.
    Ready(u64),
    /// Passed to the transport. Contains the number from `Ready`.
    Sending(u64),
    /// Stored by the log, to be removed from the database.
    Sent,
}

#[derive(Debug)]
struct Row<T> {
    key: OrderKey,
    shard: Shard,
    /// The epoch of the shard when the row was added.
    epoch: i64,
    payload: T,
    state: State,
    ticket: Ticket,
}

/// The rows of a service's outbox that this process knows, by id: those of its own shards.
#[derive(Debug)]
pub struct Ledger<T> {
    rows: BTreeMap<i64, Row<T>>,
    /// The ids of each key that are not sent yet, ascending.
    unsent: HashMap<OrderKey, VecDeque<i64>>,
    /// The ids of each topic that are ready.
    ready: HashMap<String, BTreeSet<i64>>,
    doubtful: BTreeSet<i64>,
    sent: Vec<i64>,
    /// The number of rows of each shard that are being sent, or are sent and not yet removed.
    busy: [usize; Shard::COUNT],
    tickets: u64,
    owned_shards: OwnedShards,
    /// Whether the database may have rows that are not known here.
    scan: bool,
}

impl<T: Clone> Ledger<T> {
    /// Creates the ledger of the only process that uses its database. It owns all shards.
    pub fn alone() -> Self {
        Self::new(OwnedShards::alone())
    }

    /// Creates the ledger of one of several processes. It owns no shard until [`set_leases`](Self::set_leases) is called.
    pub fn shared() -> Self {
        Self::new(OwnedShards::shared())
    }

    fn new(owned_shards: OwnedShards) -> Self {
        Self {
            rows: BTreeMap::new(),
            unsent: HashMap::new(),
            ready: HashMap::new(),
            doubtful: BTreeSet::new(),
            sent: Vec::new(),
            busy: [0; Shard::COUNT],
            tickets: 0,
            owned_shards,
            scan: true,
        }
    }

    /// Creates a ticket for a new transaction.
    pub fn begin(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Records a row that was written in the open transaction of `ticket`, if this process owns its shard.
    ///
    /// It replaces a row with the same id that has not committed: the database has reused the id, so that row was rolled back.
    pub fn stage(&mut self, ticket: Ticket, id: i64, key: OrderKey, payload: T) {
        let shard = Shard::of(&key.0, &key.1);
        let Some(epoch) = self.owned_shards.epoch(shard) else { return };
        match self.rows.get(&id).map(|row| row.state) {
            None => {}
            Some(State::Staged | State::Doubtful) => self.forget(id),
            Some(State::Ready(_) | State::Sending(_) | State::Sent) => return,
        }
        self.insert(id, Row { key, shard, epoch, payload, state: State::Staged, ticket });
    }

    /// Records that the transaction of `rows` has committed, or that they were found in the database.
    ///
    /// Returns the shards that other processes own, which must be notified.
    pub fn commit(&mut self, ticket: Ticket, rows: &[(i64, Shard)]) -> Shards {
        let since = self.owned_shards.scans();
        for (id, _) in rows {
            if let Some(row) = self.open(*id, ticket) {
                row.state = State::Ready(since);
                let topic = row.key.0.clone();
                self.ready.entry(topic).or_default().insert(*id);
                self.doubtful.remove(id);
            }
        }
        self.foreign_shards(rows)
    }

    /// Records that the transaction of `rows` was rolled back, or that they were not found in the database.
    pub fn roll_back(&mut self, ticket: Ticket, rows: &[(i64, Shard)]) {
        for (id, _) in rows {
            if self.open(*id, ticket).is_some() {
                self.forget(*id);
            }
        }
    }

    /// Records that it is unknown whether the transaction of `rows` has committed.
    ///
    /// Later rows of their keys wait until [`commit`](Self::commit) or [`roll_back`](Self::roll_back) is called. Returns the shards that
    /// other processes own, which must be notified that there may be rows.
    pub fn mark_in_doubt(&mut self, ticket: Ticket, rows: &[(i64, Shard)]) -> Shards {
        for (id, _) in rows {
            if let Some(row) = self.open(*id, ticket) {
                row.state = State::Doubtful;
                self.doubtful.insert(*id);
            }
        }
        self.foreign_shards(rows)
    }

    /// Returns the rows in doubt, by id, with their transactions.
    pub fn in_doubt(&self) -> Vec<(i64, Shard, Ticket)> {
        self.doubtful.iter().filter_map(|id| self.rows.get(id).map(|row| (*id, row.shard, row.ticket))).collect()
    }

    /// Returns whether rows are in doubt.
    pub fn has_in_doubt(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Takes at most `most` rows to send, in order.
    ///
    /// Several rows of one key can be taken in one call; while rows of a key are being sent, no further ones are taken.
    ///
    /// Rows of a topic for which `wanted` returns false are not taken.
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
            // Only if all earlier rows of the key are taken in this call.
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

    /// Returns the first `most` rows of `topic` that wait to be sent.
    pub fn waiting(&self, topic: &str, most: usize) -> Vec<(i64, T)> {
        let ids = self.ready.get(topic).into_iter().flatten().take(most);
        ids.filter_map(|id| Some((*id, self.rows.get(id)?.payload.clone()))).collect()
    }

    /// Records that the log has stored a row.
    pub fn sent(&mut self, id: i64) {
        if let Some(row) = self.rows.get_mut(&id)
            && let State::Sending(_) = row.state
        {
            row.state = State::Sent;
            self.sent.push(id);
            self.forget_unsent(id);
        }
    }

    /// Records that the log did not store a row. It is sent again, if this process still owns its shard.
    pub fn failed(&mut self, id: i64) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        let State::Sending(since) = row.state else { return };
        self.busy[index(row.shard)] -= 1;
        row.state = State::Ready(since);
        if self.owned_shards.epoch(row.shard) == Some(row.epoch) {
            let topic = row.key.0.clone();
            self.ready.entry(topic).or_default().insert(id);
        } else {
            self.forget(id);
            self.scan = true;
        }
    }

    /// Records that the task that sends and removes rows was interrupted at an unknown point.
    ///
    /// Rows that were being sent are sent again, rows that were being removed are removed again, and a scan that had begun has no result.
    pub fn broken_off(&mut self) {
        let of = |rows: &BTreeMap<i64, Row<T>>, wanted: fn(State) -> bool| -> Vec<i64> {
            rows.iter().filter(|(_, row)| wanted(row.state)).map(|(id, _)| *id).collect()
        };
        self.sent = of(&self.rows, |state| state == State::Sent);
        for id in of(&self.rows, |state| matches!(state, State::Sending(_))) {
            self.failed(id);
        }
        self.scan_failed();
    }

    /// Takes the ids of the sent rows, to remove them from the database.
    pub fn take_sent(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.sent)
    }

    /// Records that rows were removed from the database.
    pub fn removed(&mut self, ids: &[i64]) {
        for id in ids {
            if let Some(row) = self.rows.remove(id) {
                self.busy[index(row.shard)] -= 1;
            }
        }
    }

    /// Records that rows could not be removed, so that their removal is tried again.
    pub fn removal_failed(&mut self, ids: Vec<i64>) {
        self.sent.extend(ids);
    }

    /// Returns whether [`take`](Self::take) would return a row of a topic for which `wanted` returns true.
    pub fn has_ready(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.has_first(wanted, |id, row| self.is_cleared(id, row))
    }

    /// Returns the number of rows of `topic` that wait to be sent.
    pub fn count_waiting(&self, topic: &str) -> usize {
        self.ready.get(topic).map_or(0, BTreeSet::len)
    }

    /// Returns the number of rows that wait to be removed.
    pub fn to_remove(&self) -> usize {
        self.sent.len()
    }

    /// Returns the number of known rows, including those to be removed.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the oldest row that is not sent.
    pub fn oldest(&self) -> Option<&T> {
        self.rows.values().find(|row| row.state != State::Sent).map(|row| &row.payload)
    }

    fn insert(&mut self, id: i64, row: Row<T>) {
        let unsent = self.unsent.entry(row.key.clone()).or_default();
        unsent.insert(unsent.partition_point(|other| *other < id), id);
        self.rows.insert(id, row);
    }

    /// Returns the row with this id, if it belongs to the transaction of `ticket` and the end of that transaction is not known yet.
    fn open(&mut self, id: i64, ticket: Ticket) -> Option<&mut Row<T>> {
        let open = |row: &&mut Row<T>| row.ticket == ticket && matches!(row.state, State::Staged | State::Doubtful);
        self.rows.get_mut(&id).filter(open)
    }

    /// Returns the shards of those of `rows` that are not in the ledger because other processes own them.
    fn foreign_shards(&mut self, rows: &[(i64, Shard)]) -> Shards {
        let strange: Shards = rows.iter().filter(|(id, _)| !self.rows.contains_key(id)).map(|(_, shard)| *shard).collect();
        // A shard that this process acquired while the transaction was open: its row was not staged, so a scan must find it.
        self.scan |= strange.iter().any(|shard| self.owned_shards.epoch(shard).is_some());
        strange.iter().filter(|shard| self.owned_shards.epoch(*shard).is_none()).collect()
    }

    fn is_cleared(&self, id: i64, row: &Row<T>) -> bool {
        matches!(row.state, State::Ready(since) if self.owned_shards.may_send(row.shard, id, since))
    }

    /// Returns whether a topic for which `wanted` returns true has a ready row that is the first of its key and for which `is` returns
    /// true.
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

    /// Drops a row that is not being sent.
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

/// Sharing with other processes.
impl<T: Clone> Ledger<T> {
    /// Sets the shards that this process owns, with their epochs.
    ///
    /// Drops the rows of other shards and of earlier epochs: they are in the database. Rows that are being sent are kept until the
    /// transport reports their result. Returns the shards of the dropped rows: their owners must be notified.
    pub fn set_leases(&mut self, leases: &[(Shard, i64)]) -> Shards {
        let lost = self.owned_shards.set_owned(leases);
        let here = |row: &Row<T>| !matches!(row.state, State::Sending(_) | State::Sent);
        let dropped: Vec<_> =
            self.rows.iter().filter(|(_, row)| lost.contains(row.shard) && here(row)).map(|(id, row)| (*id, row.shard)).collect();
        dropped.iter().for_each(|(id, _)| self.forget(*id));
        dropped.into_iter().map(|(_, shard)| shard).collect()
    }

    /// Starts to release shards beyond `fair`, or keeps some that were being released. No row of a shard that is being released is sent.
    pub fn balance(&mut self, fair: usize) {
        self.owned_shards.balance(fair);
    }

    /// Returns the shards that are being released and have no row that is being sent or to be removed. Other processes can take them now.
    pub fn vacated(&self) -> Shards {
        self.owned_shards.leaving().filter(|shard| self.busy[index(*shard)] == 0).collect()
    }

    /// Records that the database may have rows of `shards` that are not known here. Returns whether this process owns any of these shards.
    pub fn mark_stale(&mut self, shards: Shards) -> bool {
        let ours = shards.iter().any(|shard| self.owned_shards.epoch(shard).is_some());
        self.scan |= ours;
        ours
    }

    /// Returns whether to scan the database now. If `most` rows or more are known, it does so only if something waits for the scan.
    pub fn needs_scan(&self, most: usize, wanted: impl Fn(&str) -> bool) -> bool {
        if self.owned_shards.retained().next().is_none() {
            return false;
        }
        // Do not scan again for each single row that leaves a full ledger.
        let more = || self.owned_shards.is_truncated() && (self.rows.len() < most / 2 || !self.has_ready(|_| true));
        self.scan
            || self.owned_shards.retained().any(|(shard, _)| self.owned_shards.is_unknown(shard))
            || more()
            || self.has_first(
                wanted,
                |_, row| matches!(row.state, State::Ready(since) if self.owned_shards.awaits_scan(row.shard, since)),
            )
    }

    /// Begins a scan.
    ///
    /// `most` is about the number of rows to hold in memory. Rows must not be taken or removed before [`end_scan`](Self::end_scan).
    pub fn begin_scan(&mut self, most: usize) -> OutboxScan {
        self.scan = false;
        let shards: Vec<_> = self.owned_shards.retained().collect();
        let room = most.saturating_sub(self.rows.len()) / shards.len().max(1);
        let ours = |row: &Row<T>| shards.iter().any(|(shard, _)| *shard == row.shard);
        let known = self.rows.iter().filter(|(_, row)| ours(row)).map(|(id, _)| *id).collect();
        OutboxScan { number: self.owned_shards.begin_scan(), shards, known, limit: room.clamp(LEAST, PAGE) }
    }

    /// Adds the rows that a scan has returned.
    pub fn end_scan(&mut self, scan: OutboxScan, rows: Vec<(i64, OrderKey, T)>) {
        let mut found: HashMap<Shard, (usize, i64)> = HashMap::new();
        let ticket = self.begin();
        for (id, key, payload) in rows {
            let shard = Shard::of(&key.0, &key.1);
            let (count, last) = found.entry(shard).or_insert((0, id));
            (*count, *last) = (*count + 1, id.max(*last));
            let Some((_, epoch)) = scan.shards.iter().find(|(looked, _)| *looked == shard) else { continue };
            if self.owned_shards.epoch(shard) != Some(*epoch) || self.rows.contains_key(&id) {
                continue;
            }
            self.ready.entry(key.0.clone()).or_default().insert(id);
            let state = State::Ready(scan.number - 1);
            self.insert(id, Row { key, shard, epoch: *epoch, payload, state, ticket });
        }
        for (shard, epoch) in scan.shards {
            if self.owned_shards.epoch(shard) == Some(epoch) {
                let horizon = found.get(&shard).filter(|(count, _)| *count >= scan.limit).map(|(_, last)| *last);
                self.owned_shards.end_scan(shard, scan.number, horizon);
            }
        }
    }

    /// Records that a scan has failed.
    pub fn scan_failed(&mut self) {
        self.scan = true;
    }
}
