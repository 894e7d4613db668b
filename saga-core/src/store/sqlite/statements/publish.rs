//! The statements that publish in a transaction, of the framework's own or a joined one.

/// Implements [`PublishTx`](crate::store::PublishTx) for a transaction with the statements of this store and the transaction's `run`.
macro_rules! publishing {
    ($transaction:ty) => {
        const _: () = {
            use $crate::{
                message::Record,
                store::{
                    HistoryEntry, InstanceKey, InstanceRecord, OutboxId, PublishTx, StepRecord, StoreError,
                    sqlite::statements::{history, instances, outbox, steps},
                },
            };

            #[async_trait::async_trait]
            impl PublishTx for $transaction {
                async fn append_outbox(&mut self, service: &str, rows: &[Record]) -> Result<Vec<OutboxId>, StoreError> {
                    self.run(async |connection| outbox::append(connection, service, rows).await).await
                }

                async fn load_steps(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<StepRecord>, StoreError> {
                    self.run(async |connection| steps::load(connection, service, of).await).await
                }

                async fn save_steps(&mut self, service: &str, of: &[StepRecord]) -> Result<(), StoreError> {
                    self.run(async |connection| steps::save(connection, service, of).await).await
                }

                async fn load_instances(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<InstanceRecord>, StoreError> {
                    self.run(async |connection| instances::load(connection, service, of).await).await
                }

                async fn save_instances(&mut self, service: &str, of: &[InstanceRecord]) -> Result<(), StoreError> {
                    self.run(async |connection| instances::save(connection, service, of).await).await
                }

                async fn append_history(&mut self, service: &str, of: &[HistoryEntry]) -> Result<(), StoreError> {
                    self.run(async |connection| history::append(connection, service, of).await).await
                }
            }
        };
    };
}

pub(in crate::store::sqlite) use publishing;
