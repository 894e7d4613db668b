//! How many partitions the topics have that a service reads.

use std::{collections::BTreeMap, time::Duration};

use super::core::Core;
use crate::{message::TopicPartition, store::StoreError, transport::GroupLag};

/// How long the log may take to say it while partitions are taken over.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many looks, one after the other, have to show fewer partitions than before: what a client knows of a topic may be a minute old.
const LOOKS: u32 = 24;

/// Numbers of partitions, by topic.
pub(crate) type Counts = BTreeMap<String, i32>;

/// The numbers that `lags` show.
pub(crate) fn of(lags: &[GroupLag]) -> Counts {
    let mut counts = Counts::new();
    for lag in lags {
        let count = counts.entry(lag.partition.topic.clone()).or_default();
        *count = (*count).max(lag.partition.partition + 1);
    }
    counts
}

/// The numbers that have to be learned because these partitions are taken over: of topics that are not known, or have more than is
/// known.
pub(crate) async fn count(core: &Core, taken: &[TopicPartition]) -> Counts {
    let strange = {
        let lot = core.lot();
        taken.iter().any(|taken| lot.partitions(&taken.topic).is_none_or(|count| taken.partition >= count))
    };
    if !strange {
        return Counts::new();
    }
    let topics = core.directory.topics();
    let mut counts = match tokio::time::timeout(PATIENCE, core.transport.lag(&core.name, &topics)).await {
        Ok(Ok(lags)) => of(&lags),
        // What the log does not say now shows at the next look; that there are more than before shows in what is taken.
        _ => topics.iter().filter_map(|topic| Some((topic.clone(), core.lot().partitions(topic)?))).collect(),
    };
    for taken in taken {
        if let Some(count) = counts.get_mut(&taken.topic) {
            *count = (*count).max(taken.partition + 1);
        }
    }
    counts
}

/// Learns the numbers, and notes in the database those that are new.
pub(crate) async fn learn(core: &Core, counts: Counts) -> Result<(), StoreError> {
    let new: Vec<_> = {
        let lot = core.lot();
        counts.into_iter().filter(|(topic, count)| lot.partitions(topic) != Some(*count)).collect()
    };
    if new.is_empty() {
        return Ok(());
    }
    let moved = core.store().note_partitions(&core.name, &new).await?;
    let mut lot = core.lot();
    for ((topic, count), moved) in new.into_iter().zip(moved) {
        if moved && !lot.has_moved(&topic) {
            tracing::info!(
                service = &*core.name,
                topic,
                partitions = count,
                "the topic has had another number of partitions: messages of a key may be in several, and their order is kept by the \
                 database where one waits for another attempt"
            );
        }
        lot.set_partitions(&topic, count, moved);
    }
    Ok(())
}

/// Looks that show fewer partitions than are known.
#[derive(Debug, Default)]
pub(crate) struct Fewer(BTreeMap<String, (i32, u32)>);

impl Fewer {
    /// Leaves out of `counts` those that are smaller than what is known, until they have been so for long enough.
    pub(crate) fn settle(&mut self, core: &Core, counts: &mut Counts) {
        let lot = core.lot();
        counts.retain(|topic, count| {
            if lot.partitions(topic).is_none_or(|known| *count >= known) {
                self.0.remove(topic);
                return true;
            }
            let seen = self.0.entry(topic.clone()).or_insert((*count, 0));
            *seen = (*count, if seen.0 == *count { seen.1 + 1 } else { 1 });
            seen.1 >= LOOKS
        });
    }
}
