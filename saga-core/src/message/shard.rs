//! Shards: the parts of a service's outbox, so that several processes can send at the same time.

use std::fmt;

use super::Record;

/// One of the [`COUNT`](Shard::COUNT) parts of a service's outbox. All records with the same topic and key are in the same shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// The number of shards. It must never change: databases store the number of each row's shard.
    pub const COUNT: usize = 16;

    /// Returns the shard of the records of `topic` with this `key`.
    ///
    /// The result must be the same in all programs and versions, because databases store it.
    pub fn of(topic: &str, key: &[u8]) -> Self {
        // FNV-1a. The low bits of its result depend only on the low bits of the input, so all bits are folded together.
        let bytes = topic.bytes().chain([0xff]).chain(key.iter().copied());
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let hash = hash ^ (hash >> 32);
        let hash = hash ^ (hash >> 16);
        let [low, high, ..] = hash.to_le_bytes();
        let folded = low ^ high;
        Self((folded ^ (folded >> 4)) % 16)
    }

    /// Returns the shard with this number; `None` if it is not below [`COUNT`](Self::COUNT).
    pub fn new(number: u8) -> Option<Self> {
        (usize::from(number) < Self::COUNT).then_some(Self(number))
    }

    /// Returns the number of the shard, from 0.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Returns all shards, in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..16).map(Self)
    }
}

impl Record {
    /// Returns the outbox shard of the record. All records of a topic without a key are in one shard.
    pub fn shard(&self) -> Shard {
        Shard::of(&self.topic, self.key.as_deref().unwrap_or_default())
    }
}

/// A set of shards.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Shards(u16);

impl Shards {
    /// The set of all shards.
    pub const ALL: Self = Self(u16::MAX);

    /// Returns whether the set contains `shard`.
    pub fn contains(self, shard: Shard) -> bool {
        self.0 & (1 << shard.0) != 0
    }

    /// Adds `shard`.
    pub fn insert(&mut self, shard: Shard) {
        self.0 |= 1 << shard.0;
    }

    /// Returns the union of the two sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the number of shards in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Returns the shards in the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Shard> {
        Shard::all().filter(move |shard| self.contains(*shard))
    }

    /// Returns the set as a number with one bit for each shard.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Creates the set from the result of [`bits`](Self::bits).
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

impl FromIterator<Shard> for Shards {
    fn from_iter<I: IntoIterator<Item = Shard>>(shards: I) -> Self {
        let mut all = Self::default();
        shards.into_iter().for_each(|shard| all.insert(shard));
        all
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Shard::number)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_in_its_shard_for_ever() {
        let numbers = |keys: [&str; 4]| keys.map(|key| Shard::of("orders", key.as_bytes()).number());
        // Databases store these numbers.
        assert_eq!(numbers(["", "a", "order-1", "order-2"]), [4, 11, 10, 11]);
        assert_ne!(Shard::of("ab", b"c"), Shard::of("a", b"bc"));
    }

    #[test]
    fn keys_are_spread_evenly() {
        type Name = fn(u64) -> String;
        let names: [Name; 3] = [|n| n.to_string(), |n| format!("order-{n}"), |n| format!("{:032x}", u128::from(n) << 64)];
        for name in names {
            let mut counts = [0_u32; Shard::COUNT];
            (0..16_000).for_each(|n| counts[usize::from(Shard::of("orders", name(n).as_bytes()).number())] += 1);
            assert!(counts.iter().all(|count| (700..=1_300).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn a_set_is_written_down_and_read_again() {
        let set: Shards = [3, 15, 0].into_iter().filter_map(Shard::new).collect();
        assert_eq!((set.len(), set.bits(), Shards::from_bits(set.bits())), (3, 0b1000_0000_0000_1001, set));
        assert_eq!(set.iter().map(Shard::number).collect::<Vec<_>>(), [0, 3, 15]);
        assert!(Shard::new(16).is_none() && Shards::ALL.len() == Shard::COUNT && Shards::default().is_empty());
        assert_eq!(set.and(Shards::ALL), Shards::ALL);
    }
}
