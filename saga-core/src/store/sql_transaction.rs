//! The methods of a transaction that only run a statement, for all SQL databases.

/// Implements [`StoreTx`](super::StoreTx) for a transaction with the given methods, and runs the statements of the store for the others. The
/// modules of the statements, which are those of one store, have to be in scope.
macro_rules! transaction {
    ($transaction:ty { $($own:tt)* }) => {
        const _: () = {
            use bytes::Bytes;
            use $crate::{
                message::Received,
                store::{
                    DeadLetter, DeadLetterId, DeadLetterState, InboxKey, LetterHead, OutboxId, ParkedId, ParkedMessage, StoreTx, Taker,
                },
                time::Timestamp,
            };

            #[async_trait::async_trait]
            impl StoreTx for $transaction {
                $($own)*

                async fn claim(&mut self, service: &str, keys: &[InboxKey], now: Timestamp) -> Result<Vec<bool>, StoreError> {
                    self.run(async |connection| inbox::claim(connection, service, keys, now).await).await
                }

                async fn forget(&mut self, service: &str, keys: &[InboxKey], before: Timestamp) -> Result<(), StoreError> {
                    self.run(async |connection| inbox::forget(connection, service, keys, before).await).await
                }

                async fn takers(&mut self, service: &str) -> Result<Vec<Taker>, StoreError> {
                    self.run(async |connection| takers::of(connection, service).await).await
                }

                async fn delete_outbox(&mut self, ids: &[OutboxId]) -> Result<(), StoreError> {
                    self.run(async |connection| outbox::delete(connection, ids).await).await
                }

                async fn park(&mut self, service: &str, messages: &[ParkedMessage]) -> Result<Vec<ParkedId>, StoreError> {
                    self.run(async |connection| parked::park(connection, service, messages).await).await
                }

                async fn repark(&mut self, id: ParkedId, attempts: u32, due: Timestamp, error: &str) -> Result<(), StoreError> {
                    self.run(async |connection| parked::repark(connection, id, attempts, due, error).await).await
                }

                async fn unpark(&mut self, ids: &[ParkedId]) -> Result<Vec<bool>, StoreError> {
                    self.run(async |connection| parked::unpark(connection, ids).await).await
                }

                async fn count_parked(&mut self, service: &str, topic: &str, keys: &[Bytes]) -> Result<Vec<usize>, StoreError> {
                    self.run(async |connection| parked::counts(connection, service, topic, keys).await).await
                }

                async fn insert_dead_letters(&mut self, service: &str, letters: &[DeadLetter]) -> Result<(), StoreError> {
                    self.run(async |connection| dead_letters::bury(connection, service, letters).await).await
                }

                async fn settle_dead_letters(
                    &mut self,
                    service: &str,
                    ids: &[DeadLetterId],
                    state: DeadLetterState,
                    now: Timestamp,
                ) -> Result<Vec<bool>, StoreError> {
                    self.run(async |connection| dead_letters::settle(connection, service, ids, state, now).await).await
                }

                async fn dead_letters_of(&mut self, service: &str, messages: &[InboxKey]) -> Result<Vec<Vec<LetterHead>>, StoreError> {
                    self.run(async |connection| letter_queries::of_messages(connection, service, messages).await).await
                }

                async fn holding(&mut self, service: &str, letters: &[LetterHead]) -> Result<Vec<(DeadLetterId, ParkedId)>, StoreError> {
                    self.run(async |connection| dead_letters::holding(connection, service, letters).await).await
                }

                async fn release(&mut self, ids: &[ParkedId], due: Timestamp) -> Result<(), StoreError> {
                    self.run(async |connection| parked::release(connection, ids, due).await).await
                }

                async fn replace_parked(&mut self, id: ParkedId, received: &Received, due: Timestamp) -> Result<(), StoreError> {
                    self.run(async |connection| parked::replace(connection, id, received, due).await).await
                }

                async fn mark_unpublished(&mut self, service: &str, id: &DeadLetterId, why: &str) -> Result<bool, StoreError> {
                    self.run(async |connection| dead_letters::mark_unpublished(connection, service, id, why).await).await
                }
            }
        };
    };
}

pub(in crate::store) use transaction;
