//! Shards: into how many parts the outbox of a service is divided, so that its instances can share the sending.

use std::fmt;

use super::Record;

/// One of the [`COUNT`](Shard::COUNT) parts of a service's outbox. All records of a topic with the same key are in the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// How many there are. Databases keep the number of each row's shard: it is never changed.
    pub const COUNT: usize = 16;

    /// The shard of the records of `topic` with this `key`. The same in every program, on every machine, for ever.
    pub fn of(topic: &str, key: &[u8]) -> Self {
        // FNV-1a, whose low bits know only the low bits of what goes in: all of them are folded together.
        let bytes = topic.bytes().chain([0xff]).chain(key.iter().copied());
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let hash = hash ^ (hash >> 32);
        let hash = hash ^ (hash >> 16);
        let [low, high, ..] = hash.to_le_bytes();
        let folded = low ^ high;
        Self((folded ^ (folded >> 4)) % 16)
    }

    /// The shard with this number; `None` from [`COUNT`](Self::COUNT) on.
    pub fn new(number: u8) -> Option<Self> {
        (usize::from(number) < Self::COUNT).then_some(Self(number))
    }

    /// Its number, from 0.
    pub fn number(self) -> u8 {
        self.0
    }

    /// All of them, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..16).map(Self)
    }
}

impl Record {
    /// The shard of the outbox that it belongs to. Records without a key are in one shard per topic.
    pub fn shard(&self) -> Shard {
        Shard::of(&self.topic, self.key.as_deref().unwrap_or_default())
    }
}

/// A set of shards.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Shards(u16);

impl Shards {
    /// All of them.
    pub const ALL: Self = Self(u16::MAX);

    /// Whether `shard` is among them.
    pub fn contains(self, shard: Shard) -> bool {
        self.0 & (1 << shard.0) != 0
    }

    /// Adds `shard`.
    pub fn insert(&mut self, shard: Shard) {
        self.0 |= 1 << shard.0;
    }

    /// Those in this set or the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    #[must_use]
    pub fn shared_with(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// They, ascending.
    pub fn iter(self) -> impl Iterator<Item = Shard> {
        Shard::all().filter(move |shard| self.contains(*shard))
    }

    /// The set as a number with a bit for each shard, as it can be written down.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// The set that [`bits`](Self::bits) wrote down.
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
        // Rows in databases carry these numbers.
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
        assert_eq!(set.and(Shards::ALL).shared_with(set), set);
    }
}
