//! Rows of the outbox whose headers cannot be decoded, because they were written by hand or are damaged. They become dead letters, so that
//! the rows behind them are sent.

use super::Relay;
use crate::{
    message::Record,
    store::{OutboxId, StoreError},
};

impl Relay {
    /// Moves the undecodable ones of `rows` to the dead letters and returns the others.
    pub(super) async fn without_unreadable(&mut self, rows: Vec<(OutboxId, Record)>) -> Vec<(OutboxId, Record)> {
        if self.unreadable.is_empty() {
            return rows;
        }
        let (unreadable, readable) = rows.into_iter().partition(|(id, _)| self.unreadable.contains_key(id));
        let unreadable: Vec<_> = unreadable;
        for (id, record) in unreadable {
            let why = self.unreadable.get(&id).map_or("", String::as_str);
            let error = format!("row {id} of the outbox cannot be published: {why}");
            match self.keep_unreadable(id, &record, &error).await {
                Ok(()) => {
                    tracing::error!(
                        service = &*self.core.name,
                        topic = &*self.core.name_in_log(&record.topic),
                        error,
                        "kept as a dead letter"
                    );
                    self.unreadable.remove(&id);
                    self.core.ledger().sent(id);
                }
                Err(kept) => {
                    tracing::warn!(service = &*self.core.name, error = %kept, "a row that cannot be published could not be kept");
                    self.core.ledger().failed(id);
                    self.topic_failed(record.topic, &error);
                }
            }
        }
        readable
    }

    async fn keep_unreadable(&self, id: OutboxId, record: &Record, error: &str) -> Result<(), StoreError> {
        let core = &self.core;
        let letter = self.letter(record, error.to_owned(), core.clock.now());
        let mut tx = core.store().begin().await?;
        tx.insert_dead_letters(&core.name, std::slice::from_ref(&letter)).await?;
        tx.delete_outbox(&[id]).await?;
        tx.commit().await?;
        core.series.open_dead_letters.add(1.0);
        Ok(())
    }
}
