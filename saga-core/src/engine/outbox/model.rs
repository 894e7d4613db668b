//! Two instances on a model of a database, whose shards move whenever they like.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Ledger, Look, OrderKey, Ticket};
use crate::message::{Shard, Shards};

const KEYS: u8 = 5;

fn key(of: u8) -> OrderKey {
    ("t".into(), Bytes::from(vec![of]))
}

fn shard(of: u8) -> Shard {
    Shard::of("t", &[of])
}

/// A transaction with one row. The database lets one at a time touch a key.
struct Open {
    ticket: Ticket,
    id: i64,
    of: u8,
    /// How it has ended in the database, of which the ledger does not know yet.
    ended: Option<bool>,
}

/// Ids, and the keys of each.
type Rows = Vec<(i64, u8)>;

struct Instance {
    ledger: Ledger<u8>,
    open: Vec<Open>,
    sending: Vec<(i64, u8)>,
    /// A look that has begun, and what the database has answered.
    look: Option<(Look, Option<Rows>)>,
    /// What it has been told, and has not heard yet.
    news: Shards,
}

struct Model {
    instances: [Instance; 2],
    /// The committed rows.
    rows: BTreeMap<i64, u8>,
    next: i64,
    locked: HashSet<u8>,
    owners: HashMap<Shard, (usize, i64)>,
    /// Of each key, the ids in the order in which they committed.
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
            || Instance { ledger: Ledger::shared(), open: Vec::new(), sending: Vec::new(), look: None, news: Shards::default() };
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

    /// The ledger hears of an end, or that it is in doubt.
    fn hear(&mut self, who: usize, which: usize, doubts: bool) {
        let instance = &mut self.instances[who];
        let ended: Vec<_> = (0..instance.open.len()).filter(|at| instance.open[*at].ended.is_some()).collect();
        if ended.is_empty() {
            return;
        }
        let open = instance.open.remove(ended[which % ended.len()]);
        let rows = [(open.id, shard(open.of))];
        let strange = match open.ended {
            _ if doubts => instance.ledger.doubt(open.ticket, &rows),
            Some(true) => instance.ledger.commit(open.ticket, &rows),
            _ => {
                instance.ledger.roll_back(open.ticket, &rows);
                return;
            }
        };
        self.tell(who, strange);
    }

    /// Tells the other of rows that are its own.
    fn tell(&mut self, who: usize, strange: Shards) {
        let news = &mut self.instances[1 - who].news;
        *news = news.and(strange);
    }

    fn listen(&mut self, who: usize) {
        let news = std::mem::take(&mut self.instances[who].news);
        self.instances[who].ledger.hear(news);
    }

    fn settle(&mut self, who: usize) {
        for (id, shard, ticket) in self.instances[who].ledger.doubtful() {
            let ledger = &mut self.instances[who].ledger;
            match self.rows.contains_key(&id) {
                true => {
                    let strange = ledger.commit(ticket, &[(id, shard)]);
                    self.tell(who, strange);
                }
                false => ledger.roll_back(ticket, &[(id, shard)]),
            }
        }
    }

    /// Takes a look a step further.
    fn look(&mut self, who: usize, fails: bool) {
        let Instance { ledger, look, sending, .. } = &mut self.instances[who];
        *look = match look.take() {
            None if sending.is_empty() && ledger.wants_look(8, |_| true) => Some((ledger.begin_look(8), None)),
            None => None,
            Some((look, None)) => {
                let mut counts = HashMap::new();
                let mut rows: Vec<_> = self.rows.iter().map(|(id, of)| (*id, *of)).collect();
                rows.retain(|(id, of)| {
                    let count: &mut usize = counts.entry(shard(*of)).or_default();
                    let there = look.shards().contains(shard(*of)) && !look.known.contains(id) && *count < 2;
                    *count += usize::from(there);
                    there
                });
                Some((Look { limit: 2, ..look }, Some(rows)))
            }
            Some((_, Some(_))) if fails => {
                ledger.look_failed();
                None
            }
            Some((look, Some(rows))) => {
                ledger.end_look(look, rows.into_iter().map(|(id, of)| (id, key(of), of)).collect());
                None
            }
        };
    }

    fn send(&mut self, who: usize, most: usize) {
        let instance = &mut self.instances[who];
        if instance.sending.is_empty() && instance.look.is_none() {
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
        if instance.look.is_none() {
            let ids = instance.ledger.take_sent();
            self.rows.retain(|id, _| !ids.contains(id));
            instance.ledger.removed(&ids);
        }
    }

    /// The database gives a shard to `who`, whatever its owner believes.
    fn give(&mut self, who: usize, shard: Shard) {
        let epoch = self.owners.get(&shard).map_or(0, |(_, epoch)| *epoch);
        self.owners.insert(shard, (who, epoch + 1));
    }

    fn renew(&mut self, who: usize) {
        let ours = self.owners.iter().filter(|(_, (owner, _))| *owner == who);
        let leases: Vec<_> = ours.map(|(shard, (_, epoch))| (*shard, *epoch)).collect();
        let dropped = self.instances[who].ledger.own(&leases);
        self.tell(who, dropped);
    }

    /// Gives up some shards in good order, to the other.
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
            13..=17 => self.look(who, which == 0),
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

    /// Everything ends, and everybody hears of everything.
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
                self.look(who, false);
                self.send(who, 7);
                self.answer(who, 7);
                self.remove(who);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whoever owns what and whoever believes to, whatever commits where and is heard of when: the first occurrence of every row
    /// in the log comes after those that had committed before it, and none is missing.
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

    /// Where shards only move in good order, nothing is sent twice.
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
