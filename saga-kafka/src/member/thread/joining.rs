//! Detects that the group is not joined. A missing coordinator and a rebalance that does not end are not errors for the client:
//! it retries, and reports nothing.

use std::time::{Duration, Instant};

use super::Session;
use crate::{KafkaConfig, config::GroupProtocol, group_topic::GroupTopic, member::native, troubles::GROUP_REFUSED};

/// The shortest time after which the group counts as not joined.
const PATIENCE: Duration = Duration::from_secs(30);

/// Added to the drain timeout, during which other members finish their work.
const AFTER_DRAIN: Duration = Duration::from_secs(10);

/// How often the member is checked after that.
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
    /// Records that the group is joined: partitions were assigned, or none, because other members have all.
    pub(super) fn joined(&mut self) {
        self.joining.since = None;
        self.plan.board.idle(&self.plan.member, false);
        self.plan.board.troubles.clear(&self.plan.member, GROUP_REFUSED, &self.plan.member.group);
    }

    pub(super) fn tend_joining(&mut self, now: Instant) {
        let patience = self.joining.patience;
        let late = self.joining.since.is_some_and(|since| now.duration_since(since) >= patience);
        if !late || now < self.joining.look_at {
            return;
        }
        self.joining.look_at = now + LOOK;
        let Self { plan, client, .. } = &*self;
        // With the newer protocol, a member without partitions gets no assignment event.
        if plan.config.group.protocol == GroupProtocol::Consumer && native::generation(client) > 0 {
            self.joined();
            self.plan.board.idle(&self.plan.member, true);
            return;
        }
        let GroupTopic { group, topic } = &plan.member;
        // An error that the cluster has returned is more specific.
        if plan.board.troubles.has(&plan.member, GROUP_REFUSED) {
            return;
        }
        let cause = match plan.board.coordinates(&plan.member) {
            Some(false) => {
                "no broker coordinates it; see that every partition of the topic `__consumer_offsets` has a leader (`kafka-topics \
                 --describe --topic __consumer_offsets`), and that `offsets.topic.replication.factor` is not above the number of brokers"
            }
            _ => {
                "its rebalance does not end; see which of its members hangs (`kafka-consumer-groups --describe --members`), and stop it; \
                 if it has none, that every partition of the topic `__consumer_offsets` has a leader"
            }
        };
        let detail = format!(
            "the group `{group}` has not been joined for over {} s, so `{topic}` is not read: {cause}",
            patience.as_secs()
        );
        plan.board.troubles.raise(&plan.member, GROUP_REFUSED, group, detail);
    }
}
