//! Errors that the client reports.

use rdkafka::{consumer::Consumer as _, error::KafkaError, types::RDKafkaErrorCode as Code};
use saga_core::transport::TransportError;

use super::{Session, now};
use crate::{
    error::{self, unavailable_by},
    troubles::GROUP_REFUSED,
};

impl Session<'_> {
    /// Handles an error, and returns it if the client has failed permanently.
    pub(super) fn on_error(&mut self, error: &KafkaError) -> Option<TransportError> {
        let member = &self.plan.member;
        let reading = format!("reading `{}` as a member of the group `{}`", member.topic, member.group);
        if let Some((code, reason)) = self.client.client().fatal_error() {
            return Some(unavailable_by(&reading, code, &reason));
        }
        let code = error::code(error)?;
        let reason = self.client.context().reason();
        match code {
            // The log has removed the record at this offset: its bounds are asked for, and the partition starts again within them.
            Code::AutoOffsetReset | Code::OffsetOutOfRange => self.watch.stuck(now()),
            Code::PollExceeded => {
                tracing::warn!(
                    group = self.plan.member.group,
                    reason,
                    "the process did not poll within `max.poll.interval.ms` and left the group; its partitions go to other members"
                );
            }
            Code::AllBrokersDown | Code::UnknownTopic | Code::UnknownTopicOrPartition => {
                self.plan.feed.problem(unavailable_by(&reading, code, &reason));
            }
            code if error::is_of_records(code) => {
                tracing::debug!(group = self.plan.member.group, %code, reason, "a partition cannot be fetched");
                self.suspect();
            }
            code if error::is_of_connection(code) => {
                let (problem, now) = (unavailable_by(&reading, code, &reason), now());
                self.plan.board.refused(Some(member), code, &reason, now);
                // While other brokers work, reading is not affected.
                if !self.plan.board.works(member, now) {
                    self.plan.feed.problem(problem);
                }
            }
            code if error::is_lasting(code) => {
                let problem = unavailable_by(&reading, code, &reason);
                self.plan.board.troubles.raise(member, GROUP_REFUSED, &member.group, problem.to_string());
                self.plan.feed.problem(problem);
            }
            code => tracing::debug!(group = self.plan.member.group, %code, reason, "an error that may pass"),
        }
        None
    }
}
