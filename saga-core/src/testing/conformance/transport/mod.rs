//! The checks that every [`Transport`] must pass. Run [`all`] on an implementation, or single checks to find the cause of a failure.
//!
//! The checks do not assume that rebalances are instant or that the log is empty. Topics and groups have unique names, and the checks wait
//! for every result, up to [`PATIENCE`].
//!
//! ```
//! # use std::sync::Arc;
//! # use saga_core::{testing::conformance, transport::{Transport, memory::Memory}};
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! conformance::transport::all(async || Arc::new(Memory::new()) as Arc<dyn Transport>).await;
//! # }
//! ```

pub(crate) mod bench;
mod groups;
mod lifecycle;
mod offsets;
mod records;
mod starts;

use std::{pin::Pin, sync::Arc, time::Duration};

pub use groups::*;
pub use lifecycle::*;
pub use offsets::*;
pub use records::*;
pub use starts::*;

use crate::transport::Transport;

/// The time that a check waits for an expected result.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs every check, each on a separate transport that `make` creates and that is closed afterwards. The transports can share one log.
///
/// # Panics
/// Panics at the first check that fails, with its name.
pub async fn all(make: impl AsyncFn() -> Arc<dyn Transport>) {
    macro_rules! run {
        ($($property:ident),* $(,)?) => { $(
            let log = make().await;
            let property: Pin<Box<dyn Future<Output = ()>>> = Box::pin($property(Arc::clone(&log)));
            tracing::info!(property = stringify!($property), "running");
            property.await;
            log.close().await;
        )* };
    }
    run!(
        records_come_back_as_they_were_published,
        positions_are_where_the_records_are,
        records_of_a_key_keep_their_order,
        a_key_stays_in_its_partition,
        publishing_nothing_answers_nothing,
        a_large_record_passes,
        many_records_pass,
        an_unknown_topic_is_named,
        an_illegal_topic_is_refused,
        topics_can_be_ensured_again,
        every_group_reads_every_record_once,
        a_group_reads_several_topics,
        members_share_a_group,
        a_partition_moves_when_it_is_released,
        others_take_over_from_a_dropped_member,
        others_take_over_from_a_closed_member,
        a_group_goes_on_where_it_committed,
        what_was_not_committed_comes_again,
        a_commit_never_goes_back,
        a_commit_of_a_foreign_partition_is_passed_over,
        a_commit_works_without_being_polled,
        lag_counts_what_is_not_committed,
        offsets_are_found_by_time,
        a_late_group_begins_at_the_oldest_record,
        nothing_is_delivered_before_the_start,
        a_member_starts_at_an_offset,
        a_start_again_moves,
        a_foreign_partition_cannot_be_started,
        a_start_behind_the_end_is_a_gap,
        a_paused_partition_loses_nothing,
        a_paused_partition_does_not_hold_up_others,
        a_waiting_reader_is_woken,
        next_can_be_dropped,
        a_reader_that_is_interrupted_without_end_gets_on,
        a_topic_keeps_its_identity,
        a_log_that_works_says_so,
        a_closed_log_does_nothing,
    );
}
