//! Two processes on a model of a database, with shards that move between them at any time.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Ledger, OrderKey, OutboxScan, Ticket};
use crate::message::{Shard, Shards};

const KEYS: u8 = 5;

fn key(of: u8) -> OrderKey {
    ("t".into(), Bytes::from(vec![of]))
}

fn shard(of: u8) -> Shard {
    Shard::of("t", &[of])
}

/// A transaction with one row. The database lets one transaction at a time write rows of a key.
struct Open {
    ticket: Ticket,
    id: i64,
    of: u8,
    /// Whether it has committed in the database; `None` while it is open. The ledger does not know it yet.
    ended: Option<bool>,
}

/// Ids, each with its key.
type Rows = Vec<(i64, u8)>;

struct Instance {
    ledger: Ledger<u8>,
    open: Vec<Open>,
    sending: Vec<(i64, u8)>,
    /// A scan that has begun, and the result of its query, if the database has answered.
    scan: Option<(OutboxScan, Option<Rows>)>,
    /// Notifications that it has not processed yet.
    news: Shards,
}

struct Model {
    instances: [Instance; 2],
    /// The committed rows.
    rows: BTreeMap<i64, u8>,
    next: i64,
    locked: HashSet<u8>,
    owners: HashMap<Shard, (usize, i64)>,
    /// The ids of each key, in the order of their commits.
    committed: HashMap<u8, Vec<i64>>,
    log: Vec<(i64, u8)>,
}

impl Model {
    fn new() -> Self {
        let mut model = Self::without_owners();
        Shard::all().for_each(|shard| model.give(0, shard));
        model.renew(0);
        model
    }

    fn without_owners() -> Self {
        let instance =
            || Instance { ledger: Ledger::shared(), open: Vec::new(), sending: Vec::new(), scan: None, news: Shards::default() };
        Self {
            instances: [instance(), instance()],
            rows: BTreeMap::new(),
            next: 1,
            locked: HashSet::new(),
            owners: HashMap::new(),
            committed: HashMap::new(),
            log: Vec::new(),
        }
    }

    fn stage(&mut self, who: usize, of: u8) {
        if self.locked.insert(of) {
            let (id, ledger) = (self.next, &mut self.instances[who].ledger);
            self.next += 1;
            let ticket = ledger.begin();
            ledger.stage(ticket, id, key(of), of);
            self.instances[who].open.push(Open { ticket, id, of, ended: None });
        }
    }

    fn end(&mut self, who: usize, which: usize, commits: bool) {
        let mut running: Vec<_> = self.instances[who].open.iter_mut().filter(|open| open.ended.is_none()).collect();
        if running.is_empty() {
            return;
        }
        let at = which % running.len();
        let open = &mut running[at];
        open.ended = Some(commits);
        self.locked.remove(&open.of);
        if commits {
            self.rows.insert(open.id, open.of);
            self.committed.entry(open.of).or_default().push(open.id);
        }
    }

    /// Reports the end of a transaction to the ledger, or that the end is in doubt.
    fn hear(&mut self, who: usize, which: usize, doubts: bool) {
        let instance = &mut self.instances[who];
        let ended: Vec<_> = (0..instance.open.len()).filter(|at| instance.open[*at].ended.is_some()).collect();
        if ended.is_empty() {
            return;
        }
        let open = instance.open.remove(ended[which % ended.len()]);
        let rows = [(open.id, shard(open.of))];
        let strange = match open.ended {
            _ if doubts => instance.ledger.mark_in_doubt(open.ticket, &rows),
            Some(true) => instance.ledger.commit(open.ticket, &rows),
            _ => {
                instance.ledger.roll_back(open.ticket, &rows);
                return;
            }
        };
        self.notify(who, strange);
    }

    /// Notifies the other process of rows in its shards.
    fn notify(&mut self, who: usize, strange: Shards) {
        let news = &mut self.instances[1 - who].news;
        *news = news.and(strange);
    }

    fn listen(&mut self, who: usize) {
        let news = std::mem::take(&mut self.instances[who].news);
        self.instances[who].ledger.mark_stale(news);
    }

    fn settle(&mut self, who: usize) {
        for (id, shard, ticket) in self.instances[who].ledger.in_doubt() {
            let ledger = &mut self.instances[who].ledger;
            match self.rows.contains_key(&id) {
                true => {
                    let strange = ledger.commit(ticket, &[(id, shard)]);
                    self.notify(who, strange);
                }
                false => ledger.roll_back(ticket, &[(id, shard)]),
            }
        }
    }

    /// Executes the next stage of a scan.
    fn scan(&mut self, who: usize, fails: bool) {
        let Instance { ledger, scan, sending, .. } = &mut self.instances[who];
        *scan = match scan.take() {
            None if sending.is_empty() && ledger.needs_scan(8, |_| true) => Some((ledger.begin_scan(8), None)),
            None => None,
            Some((scan, None)) => {
                let mut counts = HashMap::new();
                let mut rows: Vec<_> = self.rows.iter().map(|(id, of)| (*id, *of)).collect();
                rows.retain(|(id, of)| {
                    let count: &mut usize = counts.entry(shard(*of)).or_default();
                    let there = scan.shards().contains(shard(*of)) && !scan.known.contains(id) && *count < 2;
                    *count += usize::from(there);
                    there
                });
                Some((OutboxScan { limit: 2, ..scan }, Some(rows)))
            }
            Some((_, Some(_))) if fails => {
                ledger.scan_failed();
                None
            }
            Some((scan, Some(rows))) => {
                ledger.end_scan(scan, rows.into_iter().map(|(id, of)| (id, key(of), of)).collect());
                None
            }
        };
    }

    fn send(&mut self, who: usize, most: usize) {
        let instance = &mut self.instances[who];
        if instance.sending.is_empty() && instance.scan.is_none() {
            instance.sending = instance.ledger.take(most, |_| true);
        }
    }

    fn answer(&mut self, who: usize, stored: usize) {
        let Instance { ledger, sending, .. } = &mut self.instances[who];
        for (at, (id, of)) in std::mem::take(sending).into_iter().enumerate() {
            if at < stored {
                self.log.push((id, of));
                ledger.sent(id);
            } else {
                ledger.failed(id);
            }
        }
    }

    fn remove(&mut self, who: usize) {
        let instance = &mut self.instances[who];
        if instance.scan.is_none() {
            let ids = instance.ledger.take_sent();
            self.rows.retain(|id, _| !ids.contains(id));
            instance.ledger.removed(&ids);
        }
    }

    /// Gives a shard to `who` in the database, while its owner may still assume that it owns it.
    fn give(&mut self, who: usize, shard: Shard) {
        let epoch = self.owners.get(&shard).map_or(0, |(_, epoch)| *epoch);
        self.owners.insert(shard, (who, epoch + 1));
    }

    fn renew(&mut self, who: usize) {
        let ours = self.owners.iter().filter(|(_, (owner, _))| *owner == who);
        let leases: Vec<_> = ours.map(|(shard, (_, epoch))| (*shard, *epoch)).collect();
        let dropped = self.instances[who].ledger.set_leases(&leases);
        self.notify(who, dropped);
    }

    /// Releases some shards to the other process.
    fn share(&mut self, who: usize, fair: usize) {
        let ledger = &mut self.instances[who].ledger;
        ledger.balance(fair);
        let vacated = ledger.vacated();
        if !vacated.is_empty() {
            vacated
                .iter()
                .filter(|shard| self.owners.get(shard).is_some_and(|(owner, _)| *owner == who))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|shard| self.give(1 - who, shard));
            self.renew(who);
        }
    }

    fn step(&mut self, what: u8, who: usize, which: usize) {
        match what {
            0..=3 => self.stage(who, which as u8 % KEYS),
            4..=6 => self.end(who, which, true),
            7 => self.end(who, which, false),
            8..=10 => self.hear(who, which, false),
            11 => self.hear(who, which, true),
            12 if which.is_multiple_of(2) => self.settle(who),
            12 => self.listen(who),
            13..=17 => self.scan(who, which == 0),
            18..=20 => self.send(who, which % 5),
            21..=23 => {
                let sending = self.instances[who].sending.len();
                self.answer(who, if which.is_multiple_of(3) { which % (sending + 1) } else { sending });
            }
            24 => self.remove(who),
            25 => self.give(who, shard(which as u8 % KEYS)),
            26..=28 => self.renew(who),
            _ => self.share(who, which % 17),
        }
    }

    /// Ends all transactions and processes all notifications.
    fn finish(&mut self) {
        for who in [0, 1] {
            while !self.instances[who].open.is_empty() {
                self.end(who, 0, true);
                self.hear(who, 0, false);
            }
            self.settle(who);
            self.answer(who, 0);
            self.remove(who);
        }
        [0, 1].into_iter().for_each(|who| self.renew(who));
        for who in [0, 1] {
            self.listen(who);
            self.instances[who].ledger.balance(Shard::COUNT);
            for _ in 0..400 {
                self.scan(who, false);
                self.send(who, 7);
                self.answer(who, 7);
                self.remove(who);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// For any ownership of shards, real or assumed, and any order of commits and notifications: the first occurrences of
    /// the rows of a key in the log are in the order of their commits, and none is missing.
    #[test]
    fn first_occurrences_are_in_order_and_none_is_lost(
        steps in proptest::collection::vec((0_u8..30, 0_usize..2, 0_usize..40), 1..300),
    ) {
        let mut model = Model::new();
        for (what, who, which) in steps {
            model.step(what, who, which);
        }
        model.finish();
        let mut seen = HashSet::new();
        let mut first: HashMap<u8, Vec<i64>> = HashMap::new();
        for (id, of) in &model.log {
            if seen.insert(*id) {
                first.entry(*of).or_default().push(*id);
            }
        }
        prop_assert_eq!(first, model.committed);
        prop_assert!(model.rows.is_empty());
    }

    /// If shards move only after they were released, nothing is sent twice.
    #[test]
    fn an_orderly_handover_sends_nothing_twice(
        steps in proptest::collection::vec((0_u8..30, 0_usize..2, 0_usize..40), 1..300),
    ) {
        let mut model = Model::new();
        for (what, who, which) in steps {
            if what != 25 {
                model.step(what, who, which);
            }
        }
        let ids: HashSet<i64> = model.log.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(ids.len(), model.log.len());
    }
}
