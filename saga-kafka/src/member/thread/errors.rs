//! What the client says that is wrong.

use rdkafka::{consumer::Consumer as _, error::KafkaError, types::RDKafkaErrorCode as Code};
use saga_core::transport::TransportError;

use super::{Session, now};
use crate::{
    error::{self, unavailable_by},
    troubles::GROUP_REFUSED,
};

impl Session<'_> {
    /// Deals with an error, and gives it back if the client has failed for good.
    pub(super) fn erred(&mut self, error: &KafkaError) -> Option<TransportError> {
        let reading = format!("reading as a member of the group `{}`", self.plan.group);
        if let Some((code, reason)) = self.client.client().fatal_error() {
            return Some(unavailable_by(&reading, code, &reason));
        }
        let code = error::code(error)?;
        let reason = self.client.context().reason();
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => self.watch.stuck(now()),
            Code::PollExceeded => {
                tracing::warn!(group = self.plan.group, reason, "the process stood still, and its partitions went to others");
            }
            Code::AllBrokersDown | Code::UnknownTopic | Code::UnknownTopicOrPartition => {
                self.plan.feed.problem(unavailable_by(&reading, code, &reason));
            }
            code if error::is_of_records(code) => {
                tracing::debug!(group = self.plan.group, %code, reason, "a partition cannot be fetched");
                self.suspect();
            }
            code if error::is_of_connection(code) => {
                let (problem, now) = (unavailable_by(&reading, code, &reason), now());
                self.plan.board.refused(Some(&self.plan.group), code, &reason, now);
                // Where others do the work, that does not have to wait.
                if !self.plan.board.works(&self.plan.group, now) {
                    self.plan.feed.problem(problem);
                }
            }
            code if error::is_lasting(code) => {
                let problem = unavailable_by(&reading, code, &reason);
                self.plan.board.troubles.raise(&self.plan.group, GROUP_REFUSED, &self.plan.group, problem.to_string());
                self.plan.feed.problem(problem);
            }
            code => tracing::debug!(group = self.plan.group, %code, reason, "an error that may pass"),
        }
        None
    }
}
