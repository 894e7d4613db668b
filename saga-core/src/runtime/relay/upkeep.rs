//! The relay's database operations: it scans for rows, settles rows in doubt, and removes rows that were sent.

use super::{Relay, Upkeep};
use crate::{
    engine::outbox::{Ticket, order_key},
    message::{Shard, Shards},
    store::{OutboxId, StoreError},
};

/// Rows read at a time to settle those in doubt.
const PAGE: usize = 1_000;
/// Rows removed at a time.
pub(super) const REMOVE: usize = 2_000;

impl Relay {
    /// Scans the outbox for rows that this process does not know.
    pub(super) async fn look(&mut self) -> Result<(), StoreError> {
        let core = &self.core;
        let look = core.ledger().begin_scan(core.settings.outbox_rows);
        self.looked = tokio::time::Instant::now();
        match core.store().outbox_of(&core.name, look.shards(), &look.known, look.limit).await {
            Ok(rows) => {
                let damaged = rows.iter().filter_map(|row| Some((row.id, row.unreadable.clone()?)));
                self.unreadable.extend(damaged);
                let rows = rows.into_iter().map(|row| (row.id, order_key(&row.record), row.record)).collect();
                core.ledger().end_scan(look, rows);
                self.upkeep.succeeded(&Upkeep::Look);
                Ok(())
            }
            Err(error) => {
                core.ledger().scan_failed();
                self.upkeep_failed(Upkeep::Look);
                Err(error)
            }
        }
    }

    /// Removes rows that were sent.
    pub(super) async fn remove(&mut self) {
        while !self.upkeep.is_waiting(&Upkeep::Remove, self.core.clock.now()) {
            let mut ids = self.core.ledger().take_sent();
            if ids.is_empty() {
                return;
            }
            let rest = ids.split_off(ids.len().min(REMOVE));
            self.core.ledger().removal_failed(rest);
            let removed = async {
                let mut tx = self.core.store().begin().await?;
                tx.delete_outbox(&ids).await?;
                tx.commit().await
            };
            if let Err(error) = removed.await {
                tracing::warn!(service = &*self.core.name, %error, "sent rows could not be removed from the outbox; waiting");
                self.core.ledger().removal_failed(ids);
                return self.upkeep_failed(Upkeep::Remove);
            }
            self.upkeep.succeeded(&Upkeep::Remove);
            self.core.ledger().removed(&ids);
            self.core.record_activity();
            self.core.outbox_room.notify_one();
            let now = self.core.clock.now();
            if self.core.ledger().has_ready(|topic| self.may_send(topic, now)) {
                return;
            }
        }
    }

    /// Looks up rows in doubt, those whose commit had no clear result, in the database.
    pub(super) async fn settle_doubt(&mut self, rows: &[(OutboxId, Shard, Ticket)]) {
        let (Some((first, ..)), Some((last, ..))) = (rows.first(), rows.last()) else { return };
        let (mut after, mut found) = (first - 1, Vec::new());
        while after < *last {
            match self.core.store().outbox(&self.core.name, after, PAGE).await {
                Ok(rows) => {
                    let Some(end) = rows.last() else { break };
                    after = end.id;
                    found.extend(rows.into_iter().map(|row| row.id));
                }
                Err(error) => {
                    tracing::warn!(service = &*self.core.name, %error, "rows in doubt could not be looked up; waiting");
                    return self.upkeep_failed(Upkeep::Settle);
                }
            }
        }
        self.upkeep.succeeded(&Upkeep::Settle);
        let mut ledger = self.core.ledger();
        let mut strange = Shards::default();
        for (id, shard, ticket) in rows {
            let row = [(*id, *shard)];
            match found.binary_search(id) {
                Ok(_) => strange = strange.and(ledger.commit(*ticket, &row)),
                Err(_) => ledger.roll_back(*ticket, &row),
            }
        }
        drop(ledger);
        self.core.process.notify(strange);
        self.core.record_activity();
        self.core.outbox_room.notify_one();
    }
}
