//! Whether the group is joined. A coordinator that is not there, and a rebalance that does not end, are no errors for the client: it
//! tries on and says nothing.

use std::time::{Duration, Instant};

use super::Session;
use crate::{KafkaConfig, config::GroupProtocol, member::native, troubles::GROUP_REFUSED};

/// How long joining may take at least.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long after the time in which others finish what they do.
const AFTER_DRAIN: Duration = Duration::from_secs(10);

/// How often it is looked at after that.
const LOOK: Duration = Duration::from_secs(5);

/// Since when the group is not joined.
pub(super) struct Joining {
    since: Option<Instant>,
    patience: Duration,
    look_at: Instant,
}

impl Joining {
    pub(super) fn new(config: &KafkaConfig, now: Instant) -> Self {
        let patience = PATIENCE.max(config.group.drain_timeout.saturating_add(AFTER_DRAIN));
        Self { since: Some(now), patience, look_at: now }
    }

    pub(super) fn lost(&mut self, now: Instant) {
        self.since = Some(now);
    }
}

impl Session<'_> {
    /// Partitions were assigned, or none because others have all.
    pub(super) fn joined(&mut self) {
        self.joining.since = None;
        self.plan.board.troubles.clear(&self.plan.group, GROUP_REFUSED, &self.plan.group);
    }

    pub(super) fn tend_joining(&mut self, now: Instant) {
        let patience = self.joining.patience;
        let late = self.joining.since.is_some_and(|since| now.duration_since(since) >= patience);
        if !late || now < self.joining.look_at {
            return;
        }
        self.joining.look_at = now + LOOK;
        let Self { plan, client, .. } = &*self;
        // A member of the newer protocol that is given nothing is not told so.
        if plan.config.group.protocol == GroupProtocol::Consumer && native::generation(client) > 0 {
            self.joined();
            return;
        }
        let group = &plan.group;
        // An error that the cluster has answered says more.
        if plan.board.troubles.has(group, GROUP_REFUSED) {
            return;
        }
        let cause = match plan.board.coordinates(group) {
            Some(false) => {
                "no broker coordinates it; see that every partition of the topic `__consumer_offsets` has a leader (`kafka-topics \
                 --describe --topic __consumer_offsets`), and that `offsets.topic.replication.factor` is not above the number of brokers"
            }
            _ => {
                "its rebalance does not end; see which of its members hangs (`kafka-consumer-groups --describe --members`), and stop it; \
                 if it has none, that every partition of the topic `__consumer_offsets` has a leader"
            }
        };
        let detail =
            format!("the group `{group}` has not been joined for over {} s, so nothing is read: {cause}", patience.as_secs());
        plan.board.troubles.raise(group, GROUP_REFUSED, group, detail);
    }
}
