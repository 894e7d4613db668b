//! The partitions that have stored a record of this producer, so that their leaders know it.
//!
//! A broker compares the sequence numbers of an idempotent producer with the last one that it has stored for this producer. For a
//! producer that it does not know, it accepts any number ([KIP-360]). Suppose that two requests are in flight to a partition that
//! has stored nothing of this producer, and that the broker rejects the first and accepts the second, as a broker can while it
//! becomes the leader of the partition. librdkafka then reports the records of the first request as stored, although they are
//! lost. Therefore a partition gets one request at a time until it has stored a record.
//!
//! [KIP-360]: https://cwiki.apache.org/confluence/display/KAFKA/KIP-360%3A+Improve+reliability+of+idempotent%2Ftransactional+producer

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::Notified};

use crate::time::now;

/// How long a partition counts as known: much shorter than brokers remember a producer (`producer.id.expiration.ms`, one day).
const REMEMBERED: Duration = Duration::from_secs(600);

/// The state of the partitions for one client.
#[derive(Default)]
pub(super) struct KnownPartitions {
    topics: Mutex<HashMap<String, Topic>>,
    moved: Notify,
}

/// A topic with this number of partitions.
struct Topic {
    partitions: i32,
    states: HashMap<i32, State>,
}

enum State {
    /// A first request is in flight.
    Asked,
    /// The partition stored a record at this time.
    Known(Instant),
}

/// Whether a record can be sent to a partition.
pub(super) enum SendPermission {
    /// The leader knows this client.
    Known,
    /// It can be sent as the first request to the partition.
    First(FirstRequest),
    /// It must wait until the first request to the partition is answered.
    Later,
}

/// The right to send the first request to a partition. If it is dropped without [`stored`](FirstRequest::stored), the next caller
/// gets the right.
pub(super) struct FirstRequest {
    known: Arc<KnownPartitions>,
    topic: String,
    partition: i32,
}

impl KnownPartitions {
    fn topics(&self) -> MutexGuard<'_, HashMap<String, Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a record can be sent to `partition`, one of the `partitions` of `topic`.
    pub(super) fn turn(self: &Arc<Self>, topic: &str, partition: i32, partitions: i32) -> SendPermission {
        let mut topics = self.topics();
        // The name is copied once for each topic, and not for each record.
        let known = match topics.get_mut(topic) {
            Some(known) => known,
            None => topics.entry(topic.to_owned()).or_insert_with(|| Topic { partitions, states: HashMap::new() }),
        };
        if known.partitions != partitions {
            // With another number of partitions, keys map to other partitions, and some of these are new.
            known.partitions = partitions;
            known.states.retain(|_, state| matches!(state, State::Asked));
        }
        match known.states.get(&partition) {
            Some(State::Known(since)) if since.elapsed() < REMEMBERED => SendPermission::Known,
            Some(State::Asked) => SendPermission::Later,
            Some(State::Known(_)) | None => {
                known.states.insert(partition, State::Asked);
                SendPermission::First(FirstRequest { known: Arc::clone(self), topic: topic.to_owned(), partition })
            }
        }
    }

    /// Ends when a first request has been answered after this call.
    pub(super) fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }

    /// Forgets the partitions of `topic`, which may have been recreated.
    pub(super) fn forget(&self, topic: &str) {
        if let Some(known) = self.topics().get_mut(topic) {
            known.states.retain(|_, state| matches!(state, State::Asked));
        }
    }
}

impl FirstRequest {
    /// Records that the partition has stored a record.
    pub(super) fn stored(self, partition: i32) {
        self.becomes((partition == self.partition).then(|| State::Known(now())));
    }

    fn becomes(&self, state: Option<State>) {
        if let Some(known) = self.known.topics().get_mut(&self.topic)
            && matches!(known.states.get(&self.partition), Some(State::Asked))
        {
            match state {
                Some(state) => drop(known.states.insert(self.partition, state)),
                None => drop(known.states.remove(&self.partition)),
            }
        }
    }
}

impl Drop for FirstRequest {
    fn drop(&mut self) {
        self.becomes(None);
        self.known.moved.notify_waiters();
    }
}

/// The partition of a key, as Kafka's Java clients and librdkafka's `murmur2_random` compute it.
pub(super) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let positive = i32::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or_default();
    positive.checked_rem(partitions).unwrap_or_default()
}

/// 32-bit MurmurHash2, with the seed of `org.apache.kafka.common.utils.Utils`.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let seed = 0x9747_b28c ^ u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (words, rest) = key.as_chunks::<4>();
    let mut hash = words.iter().fold(seed, |hash, word| {
        let word = u32::from_le_bytes(*word).wrapping_mul(M);
        hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M)
    });
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0_u32, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_partition_that_java_gives_it() {
        // From Kafka's own `UtilsTest.testMurmur2`.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
            assert_eq!(partition_of(key.as_bytes(), 12), (hash & i32::MAX) % 12, "{key}");
        }
        assert_eq!(partition_of(b"key", 0), 0);
    }

    #[test]
    fn one_at_a_time_is_introduced_until_a_record_is_stored() {
        let known = Arc::new(KnownPartitions::default());
        let first = |partition| match known.turn("orders", partition, 6) {
            SendPermission::First(introduction) => introduction,
            _ => panic!("it is the first"),
        };
        let waits = || matches!(known.turn("orders", 0, 6), SendPermission::Later);
        let is_known = || matches!(known.turn("orders", 0, 6), SendPermission::Known);
        let one = first(0);
        assert!(waits());
        drop(first(1));
        drop(one);
        // The record went to another partition than expected, so nothing is known of this one.
        let two = first(0);
        assert!(waits());
        two.stored(3);
        first(0).stored(0);
        assert!(is_known() && is_known());
        known.forget("orders");
        first(0).stored(0);
        assert!(is_known());
        let SendPermission::First(again) = known.turn("orders", 0, 12) else { panic!("there are more partitions") };
        again.stored(0);
        assert!(matches!(known.turn("orders", 0, 12), SendPermission::Known));
    }
}
