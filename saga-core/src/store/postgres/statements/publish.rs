//! The statements that publish in a transaction, of the framework's own or a joined one.

/// Implements [`PublishTx`](crate::store::PublishTx) for a transaction with the statements of this store. The transaction's `publish` runs
/// them with its tables. Its `appended` is called after rows were added to the outbox.
macro_rules! publishing {
    ($transaction:ty) => {
        const _: () = {
            use $crate::{
                message::Record,
                store::{
                    HistoryEntry, InstanceKey, InstanceRecord, OutboxId, PublishTx, StepRecord, StoreError,
                    postgres::statements::{history, instances, outbox, steps},
                },
            };

            #[async_trait::async_trait]
            impl PublishTx for $transaction {
                async fn append_outbox(&mut self, service: &str, rows: &[Record]) -> Result<Vec<OutboxId>, StoreError> {
                    let ids =
                        self.publish(async |connection, tables| outbox::append(connection, tables, service, rows).await).await?;
                    self.appended(service, rows).await?;
                    Ok(ids)
                }

                async fn load_steps(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<StepRecord>, StoreError> {
                    self.publish(async |connection, tables| steps::load(connection, tables, service, of).await).await
                }

                async fn save_steps(&mut self, service: &str, of: &[StepRecord]) -> Result<(), StoreError> {
                    self.publish(async |connection, tables| steps::save(connection, tables, service, of).await).await
                }

                async fn load_instances(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<InstanceRecord>, StoreError> {
                    self.publish(async |connection, tables| instances::load(connection, tables, service, of).await).await
                }

                async fn save_instances(&mut self, service: &str, of: &[InstanceRecord]) -> Result<(), StoreError> {
                    self.publish(async |connection, tables| instances::save(connection, tables, service, of).await).await
                }

                async fn append_history(&mut self, service: &str, of: &[HistoryEntry]) -> Result<(), StoreError> {
                    self.publish(async |connection, tables| history::append(connection, tables, service, of).await).await
                }
            }
        };
    };
}

pub(in crate::store::postgres) use publishing;
