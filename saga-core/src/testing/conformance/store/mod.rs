//! The checks that every [`Store`] must pass.
//!
//! [`store_conformance!`](crate::store_conformance) generates one test for each check. For a store that outlives its process, also run
//! [`survives_reopening`].
//!
//! ```
//! use std::sync::Arc;
//! use saga_core::{store::memory::MemoryStore, testing::conformance::store::Subject};
//!
//! async fn open() -> Subject {
//!     Subject::new(Arc::new(MemoryStore::default()))
//! }
//!
//! saga_core::store_conformance!(open);
//! ```

mod concurrency;
mod dead_letters;
mod forgetting;
mod inbox;
mod instances;
mod listing;
mod migrations;
mod outbox;
mod ownership;
mod parked;
mod replays;
mod saga_texts;
mod samples;
pub mod sharing;
mod steps;
mod takers;
mod transactions;
mod turns;

use std::{any::Any, sync::Arc};

pub use self::{
    concurrency::{
        a_commit_that_nobody_waits_for_goes_on, a_message_claimed_by_many_is_new_to_one,
        a_transaction_dropped_anywhere_blocks_nobody, fifty_transactions_commit_once_each, ids_ascend_as_transactions_commit,
    },
    dead_letters::{
        a_dead_letter_finds_what_holds_its_key, dead_letters_are_answered_unless_they_were_given_back,
        dead_letters_are_found_by_a_filter, dead_letters_are_found_by_their_messages, dead_letters_are_kept_untouched,
        dead_letters_are_listed_newest_first, dead_letters_are_settled_once, dead_letters_buried_again_are_replaced,
        dead_letters_of_services_are_apart, dead_letters_say_what_the_log_did_not_take,
        heads_of_dead_letters_come_in_the_order_of_positions, many_dead_letters_are_settled_once, old_dead_letters_are_pruned,
    },
    forgetting::{old_instances_are_pruned_with_their_history, old_steps_are_pruned, pruning_says_how_much_of_the_larger},
    inbox::{
        a_claim_rolled_back_is_no_claim, a_message_given_twice_is_new_once, a_message_is_new_once,
        messages_of_services_are_apart, old_claims_are_pruned, ten_thousand_claims_fit_one_call, whatever_text_an_identity_is,
    },
    instances::{
        a_transaction_reads_its_own_instances, history_comes_in_the_order_it_was_taken_in, instances_are_kept_and_replaced,
        instances_of_services_are_apart, ten_thousand_instances_fit_one_call,
    },
    listing::{
        definitions_are_replaced, instances_are_counted, instances_are_due_in_order, instances_are_found_by_what_is_asked,
        instances_are_listed_a_page_at_a_time, instances_written_after_a_time_are_found, services_are_known,
    },
    migrations::{
        a_changed_migration_is_refused, a_database_ahead_of_the_program_is_refused, migrating_twice_changes_nothing,
        migrations_must_be_numbered_without_gaps, sets_migrate_once_though_many_try, the_store_is_well_after_migrating,
    },
    outbox::{
        outbox_rows_are_deleted, outbox_rows_are_kept_untouched, outbox_rows_come_by_shard, outbox_rows_come_in_order,
        outboxes_of_services_are_apart, ten_thousand_rows_fit_one_call,
    },
    ownership::{
        a_thousand_partitions_fit_one_call, an_epoch_stands_until_the_next, handled_events_are_remembered, many_hold_an_epoch,
        numbers_of_partitions_are_noted, owning_raises_the_epoch, partitions_of_services_are_apart,
        several_partitions_are_answered_in_order, the_applied_offset_only_advances, the_clock_of_a_service_is_kept,
        the_log_of_an_offset_is_kept, the_owner_can_rewind, what_is_held_stands_until_the_commit,
        what_is_rolled_back_holds_nothing,
    },
    parked::{
        a_message_is_unparked_once, first_sight_is_kept, parked_messages_are_kept_untouched,
        parked_messages_come_in_order_per_key, parked_messages_of_keys_are_counted, parked_messages_of_services_are_apart,
        parked_messages_without_a_key_stand_alone, reparking_changes_the_attempt,
    },
    replays::{
        a_step_of_a_replay_moves_its_partition, claims_are_forgotten_by_their_time, replays_of_a_partition_are_one_at_a_time,
    },
    saga_texts::whatever_text_an_instance_is,
    steps::{
        a_transaction_reads_its_own_steps, steps_are_kept_per_instance, steps_are_replaced, steps_of_services_are_apart,
        ten_thousand_steps_fit_one_call,
    },
    takers::{handlers_stay_known_as_they_were, handlers_that_start_at_once_agree},
    transactions::{
        a_savepoint_can_be_set_anew, a_savepoint_can_be_undone_again, nothing_to_undo_is_refused, undo_covers_every_table,
        what_is_dropped_is_rolled_back, what_is_not_committed_is_not_seen,
    },
    turns::{
        instances_are_changed_one_after_the_other, steps_are_changed_one_after_the_other, what_is_dropped_keeps_no_instance,
    },
};
use crate::store::{Store, StoreTx};

/// A new and empty store, with a resource that must exist as long as the store, such as a temporary folder.
pub struct Subject {
    store: Arc<dyn Store>,
    _keep: Option<Box<dyn Any + Send>>,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

impl Subject {
    /// Creates a subject for `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, _keep: None }
    }

    /// Keeps `what` until the check has ended.
    #[must_use]
    pub fn keeping(self, what: impl Any + Send) -> Self {
        Self { _keep: Some(Box::new(what)), ..self }
    }

    async fn migrated(&self) -> &Arc<dyn Store> {
        self.store.migrate().await.expect("migrate");
        &self.store
    }
}

/// Generates one test for each check. `open` is an `async fn() -> Subject` that returns a new and empty store. With `ignore = "reason"` the
/// tests are ignored for that reason, for a store that needs a server.
#[macro_export]
macro_rules! store_conformance {
    ($open:path) => {
        $crate::store_conformance! { @checks $open, [] }
    };
    ($open:path, ignore = $reason:literal) => {
        $crate::store_conformance! { @checks $open, [#[ignore = $reason]] }
    };
    (@checks $open:path, $attributes:tt) => {
        $crate::store_conformance! { @tests $open, $attributes =>
            a_changed_migration_is_refused,
            a_claim_rolled_back_is_no_claim,
            a_commit_that_nobody_waits_for_goes_on,
            a_dead_letter_finds_what_holds_its_key,
            a_database_ahead_of_the_program_is_refused,
            a_message_claimed_by_many_is_new_to_one,
            a_message_given_twice_is_new_once,
            a_message_is_new_once,
            a_message_is_unparked_once,
            first_sight_is_kept,
            a_savepoint_can_be_set_anew,
            a_savepoint_can_be_undone_again,
            a_thousand_partitions_fit_one_call,
            a_transaction_dropped_anywhere_blocks_nobody,
            a_transaction_reads_its_own_instances,
            a_transaction_reads_its_own_steps,
            an_epoch_stands_until_the_next,
            dead_letters_are_answered_unless_they_were_given_back,
            dead_letters_are_found_by_a_filter,
            dead_letters_are_found_by_their_messages,
            dead_letters_are_kept_untouched,
            dead_letters_are_listed_newest_first,
            dead_letters_are_settled_once,
            dead_letters_buried_again_are_replaced,
            dead_letters_of_services_are_apart,
            dead_letters_say_what_the_log_did_not_take,
            replays_of_a_partition_are_one_at_a_time,
            a_step_of_a_replay_moves_its_partition,
            claims_are_forgotten_by_their_time,
            definitions_are_replaced,
            fifty_transactions_commit_once_each,
            heads_of_dead_letters_come_in_the_order_of_positions,
            history_comes_in_the_order_it_was_taken_in,
            ids_ascend_as_transactions_commit,
            instances_are_changed_one_after_the_other,
            handled_events_are_remembered,
            handlers_stay_known_as_they_were,
            handlers_that_start_at_once_agree,
            instances_are_counted,
            instances_are_due_in_order,
            instances_are_found_by_what_is_asked,
            instances_are_kept_and_replaced,
            instances_are_listed_a_page_at_a_time,
            instances_of_services_are_apart,
            instances_written_after_a_time_are_found,
            many_dead_letters_are_settled_once,
            many_hold_an_epoch,
            messages_of_services_are_apart,
            migrating_twice_changes_nothing,
            migrations_must_be_numbered_without_gaps,
            nothing_to_undo_is_refused,
            numbers_of_partitions_are_noted,
            old_claims_are_pruned,
            old_dead_letters_are_pruned,
            old_instances_are_pruned_with_their_history,
            old_steps_are_pruned,
            outbox_rows_are_deleted,
            outbox_rows_are_kept_untouched,
            outbox_rows_come_by_shard,
            outbox_rows_come_in_order,
            outboxes_of_services_are_apart,
            owning_raises_the_epoch,
            parked_messages_are_kept_untouched,
            parked_messages_come_in_order_per_key,
            parked_messages_of_keys_are_counted,
            parked_messages_of_services_are_apart,
            parked_messages_without_a_key_stand_alone,
            partitions_of_services_are_apart,
            pruning_says_how_much_of_the_larger,
            reparking_changes_the_attempt,
            services_are_known,
            sets_migrate_once_though_many_try,
            several_partitions_are_answered_in_order,
            steps_are_changed_one_after_the_other,
            steps_are_kept_per_instance,
            steps_are_replaced,
            steps_of_services_are_apart,
            ten_thousand_claims_fit_one_call,
            ten_thousand_instances_fit_one_call,
            ten_thousand_rows_fit_one_call,
            ten_thousand_steps_fit_one_call,
            the_applied_offset_only_advances,
            the_clock_of_a_service_is_kept,
            the_log_of_an_offset_is_kept,
            the_owner_can_rewind,
            the_store_is_well_after_migrating,
            undo_covers_every_table,
            what_is_dropped_is_rolled_back,
            what_is_dropped_keeps_no_instance,
            what_is_held_stands_until_the_commit,
            what_is_not_committed_is_not_seen,
            what_is_rolled_back_holds_nothing,
            whatever_text_an_identity_is,
            whatever_text_an_instance_is,
        }
    };
    (@tests $open:path, $attributes:tt => $($check:ident,)+) => {
        $($crate::store_conformance! { @test $open, $attributes, $check })+
    };
    (@test $open:path, [$($attribute:tt)*], $check:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($attribute)*
        async fn $check() {
            $crate::testing::conformance::store::$check($open().await).await;
        }
    };
}

/// Checks that committed data still exists when the store is opened again. `open` opens the same database each time.
///
/// # Panics
/// Panics if the check fails.
pub async fn survives_reopening(open: impl AsyncFn() -> Arc<dyn Store>) {
    let before = open().await;
    before.migrate().await.expect("migrate");
    let ids = write(&before, async |tx| tx.append_outbox("orders", &[samples::record(1)]).await.expect("append")).await;
    before.close().await;
    drop(before);
    let after = open().await;
    after.migrate().await.expect("migrate again");
    let rows = after.outbox("orders", 0, 10).await.expect("read");
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
    write(&after, async |tx| tx.delete_outbox(&ids).await.expect("delete")).await;
    let later = write(&after, async |tx| tx.append_outbox("orders", &[samples::record(2)]).await.expect("append")).await;
    assert!(later > ids, "an id was given twice: {later:?} after {ids:?}");
    after.close().await;
}

/// Commits what `change` writes.
async fn write<T>(store: &Arc<dyn Store>, change: impl AsyncFnOnce(&mut dyn StoreTx) -> T) -> T {
    let mut tx = store.begin().await.expect("begin");
    let value = change(&mut *tx).await;
    tx.commit().await.expect("commit");
    value
}
