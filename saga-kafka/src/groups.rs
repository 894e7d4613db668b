//! The consumer groups of this process, described every few seconds.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use saga_core::transport::TransportError;

use crate::{
    group::{Group, describe},
    observer::Observer,
    time::now,
    unassigned::{Rejoin, Unassigned},
};

/// How often a group is described.
const ASK: Duration = Duration::from_secs(5);

/// The last description of each group.
#[derive(Default)]
pub(crate) struct Groups(Mutex<BTreeMap<String, Known>>);

struct Known {
    group: Group,
    at: Instant,
    unassigned: Unassigned,
}

impl Groups {
    /// Returns `group` as of a few seconds ago, and the members that must join it again, once. `topics` are the topics of the service
    /// with their numbers of partitions, and `drain` is the longest time for which a revoked partition belongs to no member.
    pub(crate) async fn look(
        &self,
        observer: &Observer,
        group: &str,
        topics: &BTreeMap<String, i32>,
        drain: Duration,
    ) -> Result<(Group, Vec<Rejoin>), TransportError> {
        {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = all.get(group)
                && known.at.elapsed() < ASK
            {
                return Ok((known.group.clone(), Vec::new()));
            }
        }
        let name = group.to_owned();
        let found = observer.ask(move |client| describe(client, &name)).await?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || Known { group: Group::default(), at: now(), unassigned: Unassigned::default() };
        let known = all.entry(group.to_owned()).or_insert_with(unknown);
        let rejoins = known.unassigned.look(&found, topics, drain, now());
        (known.group, known.at) = (found.clone(), now());
        Ok((found, rejoins))
    }
}
