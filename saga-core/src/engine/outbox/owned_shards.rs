//! The shards of the outbox that this process owns, and how much of their contents it knows.

use crate::message::{Shard, Shards};

/// The shards that this process sends, and the result of its last scans of the database.
#[derive(Debug)]
pub(super) struct OwnedShards {
    /// No other process writes to this database: its first scan and its own commits cover all rows.
    alone: bool,
    held: [Option<OwnedShard>; Shard::COUNT],
    looks: u64,
}

/// An owned shard.
#[derive(Debug, Clone, Copy)]
struct OwnedShard {
    /// The epoch of the ownership. The database raises it whenever a process takes the shard.
    epoch: i64,
    /// Whether the shard is being released: none of its rows are sent.
    leaving: bool,
    /// The number of the last scan that has ended.
    last_scan: Option<u64>,
    /// Set if that scan was truncated: rows with ids above this one may be unknown.
    horizon: Option<i64>,
}

impl OwnedShards {
    pub(super) fn alone() -> Self {
        let held = Some(OwnedShard { epoch: 0, leaving: false, last_scan: None, horizon: None });
        Self { alone: true, held: [held; Shard::COUNT], looks: 0 }
    }

    pub(super) fn shared() -> Self {
        Self { alone: false, held: [None; Shard::COUNT], looks: 0 }
    }

    /// Sets the owned shards. Returns those that are no longer owned, or have another epoch.
    pub(super) fn set_owned(&mut self, leases: &[(Shard, i64)]) -> Shards {
        let mut lost = Shards::default();
        for shard in Shard::all() {
            let now = leases.iter().find(|(leased, _)| *leased == shard).map(|(_, epoch)| *epoch);
            let held = &mut self.held[index(shard)];
            if held.map(|held| held.epoch) != now {
                if held.is_some() {
                    lost.insert(shard);
                }
                *held = now.map(|epoch| OwnedShard { epoch, leaving: false, last_scan: None, horizon: None });
            }
        }
        lost
    }

    /// Returns the epoch of `shard`, if this process owns it.
    pub(super) fn epoch(&self, shard: Shard) -> Option<i64> {
        self.held[index(shard)].map(|held| held.epoch)
    }

    /// Returns the owned shards that are not being released, with their epochs.
    pub(super) fn retained(&self) -> impl Iterator<Item = (Shard, i64)> {
        Shard::all().filter_map(|shard| Some((shard, self.retained_shard(shard)?.epoch)))
    }

    pub(super) fn leaving(&self) -> impl Iterator<Item = Shard> {
        Shard::all().filter(|shard| self.held[index(*shard)].is_some_and(|held| held.leaving))
    }

    /// Starts to release shards beyond `fair`, the last ones first, or keeps some that were being released.
    pub(super) fn balance(&mut self, fair: usize) {
        let mut kept = self.retained().count().min(fair);
        let mut room = fair - kept;
        for held in self.held.iter_mut().flatten() {
            if held.leaving {
                // Scans have skipped it while it was being released, so it must be scanned again before its rows are sent.
                (held.leaving, held.last_scan, held.horizon) = (room == 0, None, None);
                room = room.saturating_sub(1);
            } else {
                held.leaving = kept == 0;
                kept = kept.saturating_sub(1);
            }
        }
    }

    /// Returns the number of scans that have begun.
    pub(super) fn scans(&self) -> u64 {
        self.looks
    }

    pub(super) fn begin_scan(&mut self) -> u64 {
        self.looks += 1;
        self.looks
    }

    pub(super) fn end_scan(&mut self, shard: Shard, number: u64, horizon: Option<i64>) {
        if let Some(held) = &mut self.held[index(shard)] {
            held.last_scan = Some(number);
            held.horizon = horizon;
        }
    }

    /// Returns whether a row can be sent, as far as its shard is concerned. `known_at_scan` is the number of scans that had begun when the commit
    /// of the row became known. A scan that began later has ended, so all rows that were committed earlier are known, or the log has stored
    /// them.
    pub(super) fn may_send(&self, shard: Shard, id: i64, known_at_scan: u64) -> bool {
        self.retained_shard(shard).is_some_and(|held| {
            held.last_scan.is_some_and(|last_scan| self.alone || known_at_scan < last_scan)
                && held.horizon.is_none_or(|horizon| id <= horizon)
        })
    }

    /// Returns whether the row waits only for a later scan.
    pub(super) fn awaits_scan(&self, shard: Shard, known_at_scan: u64) -> bool {
        self.retained_shard(shard)
            .is_some_and(|held| held.last_scan.is_none_or(|last_scan| !self.alone && known_at_scan >= last_scan))
    }

    /// Returns whether `shard` was not scanned yet.
    pub(super) fn is_unknown(&self, shard: Shard) -> bool {
        self.retained_shard(shard).is_some_and(|held| held.last_scan.is_none())
    }

    /// Returns whether the last scan of a shard was truncated.
    pub(super) fn is_truncated(&self) -> bool {
        Shard::all().any(|shard| self.retained_shard(shard).is_some_and(|held| held.horizon.is_some()))
    }

    fn retained_shard(&self, shard: Shard) -> Option<OwnedShard> {
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
    fn surplus_shards_are_released_unless_the_share_grows() {
        let mut owned_shards = OwnedShards::shared();
        owned_shards.set_owned(&leases(0..16, 1));
        owned_shards.balance(6);
        assert_eq!(numbers(owned_shards.leaving()), (6..16).collect::<Vec<_>>());
        owned_shards.balance(8);
        assert_eq!(numbers(owned_shards.leaving()), (8..16).collect::<Vec<_>>());
        owned_shards.set_owned(&leases(0..8, 1));
        owned_shards.balance(16);
        assert_eq!(owned_shards.leaving().count(), 0);
        assert_eq!(numbers(owned_shards.retained().map(|(shard, _)| shard)), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_shard_that_is_retained_after_all_is_scanned() {
        let shard = Shard::new(1).expect("a shard");
        let mut owned_shards = OwnedShards::shared();
        owned_shards.set_owned(&leases(0..2, 1));
        let number = owned_shards.begin_scan();
        leases(0..2, 1).into_iter().for_each(|(shard, _)| owned_shards.end_scan(shard, number, None));
        owned_shards.balance(1);
        assert!(!owned_shards.may_send(shard, 5, 0), "it is being given up");
        owned_shards.balance(2);
        assert!(owned_shards.is_unknown(shard) && !owned_shards.may_send(shard, 5, 0), "others may have written meanwhile");
    }

    #[test]
    fn a_new_epoch_ends_the_old_ownership() {
        let mut owned_shards = OwnedShards::shared();
        assert!(owned_shards.set_owned(&leases(0..3, 1)).is_empty());
        assert_eq!(numbers(owned_shards.set_owned(&[leases(0..1, 1), leases(1..2, 7)].concat()).iter()), [1, 2]);
        assert_eq!(owned_shards.retained().map(|(_, epoch)| epoch).collect::<Vec<_>>(), [1, 7]);
    }

    #[test]
    fn a_row_is_cleared_by_a_look_that_began_after_its_commit() {
        let [shard, other] = [0, 1].map(|number| Shard::new(number).expect("a shard"));
        let mut owned_shards = OwnedShards::shared();
        owned_shards.set_owned(&[(shard, 1)]);
        let since = owned_shards.scans();
        assert!(owned_shards.awaits_scan(shard, since) && !owned_shards.awaits_scan(other, since));
        let number = owned_shards.begin_scan();
        assert!(!owned_shards.may_send(shard, 5, since), "it has not ended");
        owned_shards.end_scan(shard, number, Some(7));
        assert!(owned_shards.may_send(shard, 7, since) && !owned_shards.may_send(shard, 8, since) && owned_shards.is_truncated());
        assert!(
            !owned_shards.may_send(shard, 5, number) && owned_shards.awaits_scan(shard, number),
            "it was committed meanwhile"
        );
    }

    #[test]
    fn who_is_alone_looks_once() {
        let shard = Shard::new(0).expect("a shard");
        let mut owned_shards = OwnedShards::alone();
        assert!(!owned_shards.may_send(shard, 5, 0) && owned_shards.awaits_scan(shard, 0));
        let number = owned_shards.begin_scan();
        owned_shards.end_scan(shard, number, None);
        assert!(owned_shards.may_send(shard, 5, number) && !owned_shards.awaits_scan(shard, number));
    }
}
