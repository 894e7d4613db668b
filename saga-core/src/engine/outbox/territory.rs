//! Which shards of the outbox are this process's, and how far it knows what is in them.

use crate::message::{Shard, Shards};

/// The shards that this process sends, and what its last looks into the database have shown.
#[derive(Debug)]
pub(super) struct Territory {
    /// Nobody else writes to this database: what this process commits, and what it found at its start, is all there is.
    alone: bool,
    held: [Option<Held>; Shard::COUNT],
    looks: u64,
}

/// A shard that is ours.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Which ownership it is: raised in the database by everyone who takes the shard.
    epoch: i64,
    /// It is being given up: nothing of it is sent any more.
    leaving: bool,
    /// The last look that has ended.
    looked: Option<u64>,
    /// That look did not get everything: of rows above this id, some may not be known.
    horizon: Option<i64>,
}

impl Territory {
    pub(super) fn alone() -> Self {
        let held = Some(Held { epoch: 0, leaving: false, looked: None, horizon: None });
        Self { alone: true, held: [held; Shard::COUNT], looks: 0 }
    }

    pub(super) fn shared() -> Self {
        Self { alone: false, held: [None; Shard::COUNT], looks: 0 }
    }

    /// Takes note of what is ours, and gives the shards that are not any more, or not under the same epoch.
    pub(super) fn own(&mut self, leases: &[(Shard, i64)]) -> Shards {
        let mut lost = Shards::default();
        for shard in Shard::all() {
            let now = leases.iter().find(|(leased, _)| *leased == shard).map(|(_, epoch)| *epoch);
            let held = &mut self.held[index(shard)];
            if held.map(|held| held.epoch) != now {
                if held.is_some() {
                    lost.insert(shard);
                }
                *held = now.map(|epoch| Held { epoch, leaving: false, looked: None, horizon: None });
            }
        }
        lost
    }

    /// The ownership under which `shard` is ours now.
    pub(super) fn epoch(&self, shard: Shard) -> Option<i64> {
        self.held[index(shard)].map(|held| held.epoch)
    }

    /// The shards that are ours and stay it, with their epochs.
    pub(super) fn staying(&self) -> impl Iterator<Item = (Shard, i64)> {
        Shard::all().filter_map(|shard| Some((shard, self.stays(shard)?.epoch)))
    }

    pub(super) fn leaving(&self) -> impl Iterator<Item = Shard> {
        Shard::all().filter(|shard| self.held[index(*shard)].is_some_and(|held| held.leaving))
    }

    /// Begins to give up shards beyond `fair`, the last ones first, or keeps some after all.
    pub(super) fn balance(&mut self, fair: usize) {
        let mut kept = self.staying().count().min(fair);
        let mut room = fair - kept;
        for held in self.held.iter_mut().flatten() {
            if held.leaving {
                // What was said of it while it was being given up is not known: it is looked into anew.
                (held.leaving, held.looked, held.horizon) = (room == 0, None, None);
                room = room.saturating_sub(1);
            } else {
                held.leaving = kept == 0;
                kept = kept.saturating_sub(1);
            }
        }
    }

    /// How many looks have begun.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    pub(super) fn begin_look(&mut self) -> u64 {
        self.looks += 1;
        self.looks
    }

    pub(super) fn end_look(&mut self, shard: Shard, number: u64, horizon: Option<i64>) {
        if let Some(held) = &mut self.held[index(shard)] {
            held.looked = Some(number);
            held.horizon = horizon;
        }
    }

    /// Whether a row that was committed after `since` looks had begun may be sent, as far as its shard says: every row that was
    /// committed before it is known, or was acknowledged by the log.
    pub(super) fn clears(&self, shard: Shard, id: i64, since: u64) -> bool {
        self.stays(shard).is_some_and(|held| {
            held.looked.is_some_and(|looked| self.alone || since < looked) && held.horizon.is_none_or(|horizon| id <= horizon)
        })
    }

    /// Whether a look is all that such a row lacks.
    pub(super) fn awaits_look(&self, shard: Shard, since: u64) -> bool {
        self.stays(shard).is_some_and(|held| held.looked.is_none_or(|looked| !self.alone && since >= looked))
    }

    /// Whether nothing is known of `shard` yet.
    pub(super) fn is_unknown(&self, shard: Shard) -> bool {
        self.stays(shard).is_some_and(|held| held.looked.is_none())
    }

    /// Whether the last look into a shard did not get everything.
    pub(super) fn is_cut(&self) -> bool {
        Shard::all().any(|shard| self.stays(shard).is_some_and(|held| held.horizon.is_some()))
    }

    fn stays(&self, shard: Shard) -> Option<Held> {
        self.held[index(shard)].filter(|held| !held.leaving)
    }
}

pub(super) fn index(shard: Shard) -> usize {
    usize::from(shard.number())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(numbers: std::ops::Range<u8>, epoch: i64) -> Vec<(Shard, i64)> {
        numbers.filter_map(Shard::new).map(|shard| (shard, epoch)).collect()
    }

    fn numbers(shards: impl Iterator<Item = Shard>) -> Vec<u8> {
        shards.map(Shard::number).collect()
    }

    #[test]
    fn what_is_beyond_the_fair_share_is_given_up_and_kept_after_all() {
        let mut territory = Territory::shared();
        territory.own(&leases(0..16, 1));
        territory.balance(6);
        assert_eq!(numbers(territory.leaving()), (6..16).collect::<Vec<_>>());
        territory.balance(8);
        assert_eq!(numbers(territory.leaving()), (8..16).collect::<Vec<_>>());
        territory.own(&leases(0..8, 1));
        territory.balance(16);
        assert_eq!(territory.leaving().count(), 0);
        assert_eq!(numbers(territory.staying().map(|(shard, _)| shard)), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_shard_that_is_kept_after_all_is_looked_into() {
        let shard = Shard::new(1).expect("a shard");
        let mut territory = Territory::shared();
        territory.own(&leases(0..2, 1));
        let number = territory.begin_look();
        leases(0..2, 1).into_iter().for_each(|(shard, _)| territory.end_look(shard, number, None));
        territory.balance(1);
        assert!(!territory.clears(shard, 5, 0), "it is being given up");
        territory.balance(2);
        assert!(territory.is_unknown(shard) && !territory.clears(shard, 5, 0), "others may have written meanwhile");
    }

    #[test]
    fn a_shard_under_another_epoch_is_another() {
        let mut territory = Territory::shared();
        assert!(territory.own(&leases(0..3, 1)).is_empty());
        assert_eq!(numbers(territory.own(&[leases(0..1, 1), leases(1..2, 7)].concat()).iter()), [1, 2]);
        assert_eq!(territory.staying().map(|(_, epoch)| epoch).collect::<Vec<_>>(), [1, 7]);
    }

    #[test]
    fn a_row_is_cleared_by_a_look_that_began_after_its_commit() {
        let [shard, other] = [0, 1].map(|number| Shard::new(number).expect("a shard"));
        let mut territory = Territory::shared();
        territory.own(&[(shard, 1)]);
        let since = territory.looks();
        assert!(territory.awaits_look(shard, since) && !territory.awaits_look(other, since));
        let number = territory.begin_look();
        assert!(!territory.clears(shard, 5, since), "it has not ended");
        territory.end_look(shard, number, Some(7));
        assert!(territory.clears(shard, 7, since) && !territory.clears(shard, 8, since) && territory.is_cut());
        assert!(!territory.clears(shard, 5, number) && territory.awaits_look(shard, number), "it was committed meanwhile");
    }

    #[test]
    fn who_is_alone_looks_once() {
        let shard = Shard::new(0).expect("a shard");
        let mut territory = Territory::alone();
        assert!(!territory.clears(shard, 5, 0) && territory.awaits_look(shard, 0));
        let number = territory.begin_look();
        territory.end_look(shard, number, None);
        assert!(territory.clears(shard, 5, number) && !territory.awaits_look(shard, number));
    }
}
