//! The numbers of partitions of the topics that a service reads.

use std::{collections::BTreeMap, time::Duration};

use super::core::Core;
use crate::{message::TopicPartition, store::StoreError, transport::GroupLag};

/// How long the log may take to return the numbers while partitions are acquired.
const PATIENCE: Duration = Duration::from_secs(2);
/// The number of consecutive measurements that must show fewer partitions before the smaller number is used. A client's metadata of a topic
/// can be a minute old.
const LOOKS: u32 = 24;

/// The number of partitions of each topic.
pub(crate) type Counts = BTreeMap<String, i32>;

/// Returns the numbers of partitions in `lags`.
pub(crate) fn of(lags: &[GroupLag]) -> Counts {
    let mut counts = Counts::new();
    for lag in lags {
        let count = counts.entry(lag.partition.topic.clone()).or_default();
        *count = (*count).max(lag.partition.partition + 1);
    }
    counts
}

/// Returns the numbers of partitions if the acquisition of `taken` shows that the known numbers are missing or too small. Empty otherwise.
pub(crate) async fn count(core: &Core, taken: &[TopicPartition]) -> Counts {
    let strange = {
        let parked = core.parked();
        taken.iter().any(|taken| parked.partitions(&taken.topic).is_none_or(|count| taken.partition >= count))
    };
    if !strange {
        return Counts::new();
    }
    let topics = core.topics();
    let mut counts = match tokio::time::timeout(PATIENCE, core.transport.lag(&core.name, &topics)).await {
        Ok(Ok(lags)) => of(&lags),
        // If the log does not answer, a later measurement corrects the numbers. An increase is already visible in `taken`.
        _ => topics.iter().filter_map(|topic| Some((topic.clone(), core.parked().partitions(topic)?))).collect(),
    };
    for taken in taken {
        if let Some(count) = counts.get_mut(&taken.topic) {
            *count = (*count).max(taken.partition + 1);
        }
    }
    counts
}

/// Applies the numbers, and saves those that are new in the database.
pub(crate) async fn learn(core: &Core, counts: Counts) -> Result<(), StoreError> {
    let new: Vec<_> = {
        let parked = core.parked();
        counts.into_iter().filter(|(topic, count)| parked.partitions(topic) != Some(*count)).collect()
    };
    if new.is_empty() {
        return Ok(());
    }
    let moved = core.store().record_partitions(&core.name, &new).await?;
    let mut parked = core.parked();
    for ((topic, count), moved) in new.into_iter().zip(moved) {
        if moved && !parked.has_moved(&topic) {
            tracing::info!(
                service = &*core.name,
                topic,
                partitions = count,
                "the number of partitions of the topic has changed: messages of a key may be in several partitions, and the database keeps \
                 their order while one of them waits for another attempt"
            );
        }
        parked.set_partitions(&topic, count, moved);
    }
    Ok(())
}

/// The consecutive measurements that showed fewer partitions than are known, for each topic.
#[derive(Debug, Default)]
pub(crate) struct Fewer(BTreeMap<String, (i32, u32)>);

impl Fewer {
    /// Removes from `counts` the numbers that are smaller than the known ones, until they have been measured often enough.
    pub(crate) fn settle(&mut self, core: &Core, counts: &mut Counts) {
        let parked = core.parked();
        counts.retain(|topic, count| {
            if parked.partitions(topic).is_none_or(|known| *count >= known) {
                self.0.remove(topic);
                return true;
            }
            let seen = self.0.entry(topic.clone()).or_insert((*count, 0));
            *seen = (*count, if seen.0 == *count { seen.1 + 1 } else { 1 });
            seen.1 >= LOOKS
        });
    }
}
