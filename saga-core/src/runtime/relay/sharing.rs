//! How the processes of a service share its outbox: the leases of its shards, and the notifications between processes.
//!
//! The order of rows is decided by the ledger, not here. This module limits how many rows are sent by two processes: a
//! process renews its leases regularly, and stops sending when it cannot be sure that it still owns its shards.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use super::super::{core::Core, process::lock};
use crate::{
    message::Shards,
    store::{PeerNotification, Sharing, StoreError},
};

/// How long a lease is valid.
const TTL: Duration = Duration::from_secs(5);
/// How often the leases are renewed.
const RENEW: Duration = Duration::from_millis(1_500);
/// How long to wait after an error of the database.
const RETRY: Duration = Duration::from_millis(500);
/// How often the rows of the whole service are counted.
const COUNT: Duration = Duration::from_secs(5);
/// The rows are counted up to this multiple of the limit `outbox_rows`.
const COUNTED: usize = 5;

/// Returns the store's [`Sharing`] and the id of this process; `None` if the outbox is not shared.
fn shared(core: &Core) -> Option<(&dyn Sharing, &str)> {
    Some((core.store().sharing()?, core.process.id.as_deref()?))
}

/// Acquires the first leases.
pub(super) async fn join(core: &Core) -> Result<(), StoreError> {
    if let Some((sharing, id)) = shared(core) {
        acquire_leases(core, sharing, id).await?;
        // Processes with more than their fair share give up the surplus at once.
        return sharing.notify(&core.name, PeerNotification::SharesChanged).await;
    }
    Ok(())
}

/// Gives up all shards, so that other processes can acquire them at once. If this fails, they can acquire them when the leases expire.
pub(crate) async fn leave(core: &Core) {
    if let Some((sharing, id)) = shared(core) {
        let left = async {
            sharing.leave(&core.name, id).await?;
            sharing.notify(&core.name, PeerNotification::SharesChanged).await
        };
        if let Err(error) = left.await {
            tracing::warn!(service = &*core.name, %error, "the shards of the outbox could not be given back");
        }
    }
}

/// Renews the leases and exchanges notifications, forever.
pub(super) async fn run(core: Arc<Core>) {
    match shared(&core) {
        Some((sharing, id)) => {
            tokio::join!(renew(&core, sharing, id), notify_owners(&core, sharing), listen(&core, sharing), count(&core, sharing));
        }
        None => std::future::pending().await,
    }
}

async fn renew(core: &Core, sharing: &dyn Sharing, id: &str) {
    loop {
        tokio::select! {
            () = sleep(RENEW) => {}
            () = core.process.shares_changed.notified() => {}
        }
        while let Err(error) = acquire_leases(core, sharing, id).await {
            tracing::warn!(service = &*core.name, %error, "the lease on the outbox could not be renewed; trying again");
            sleep(RETRY).await;
        }
    }
}

async fn acquire_leases(core: &Core, sharing: &dyn Sharing, id: &str) -> Result<(), StoreError> {
    let freed = core.ledger().vacated();
    let asked = Instant::now();
    let late = |_| StoreError::Unavailable(format!("no answer within {TTL:?}"));
    let share = timeout(TTL, sharing.acquire_leases(&core.name, id, TTL, freed)).await.map_err(late)??;
    *lock(&core.process.until) = Some(asked + TTL);
    let leases: Vec<_> = share.leases.iter().map(|lease| (lease.shard, lease.epoch)).collect();
    let dropped = {
        let mut ledger = core.ledger();
        let dropped = ledger.set_leases(&leases);
        ledger.balance(share.fair);
        dropped
    };
    core.process.notify(dropped);
    core.record_activity();
    core.relay_wake.notify_one();
    if !freed.is_empty() {
        tracing::info!(service = &*core.name, shards = ?freed, "gave up shards of the outbox");
        sharing.notify(&core.name, PeerNotification::SharesChanged).await?;
    }
    Ok(())
}

/// Notifies the owners of rows that this process has committed. While a notification is being sent, later ones are combined.
async fn notify_owners(core: &Core, sharing: &dyn Sharing) {
    loop {
        core.process.foreign_wake.notified().await;
        let shards = std::mem::take(&mut *lock(&core.process.foreign));
        if shards.is_empty() {
            continue;
        }
        if let Err(error) = sharing.notify(&core.name, PeerNotification::Rows(shards)).await {
            // The owners find the rows by a scan, only later.
            tracing::debug!(service = &*core.name, %error, "other processes could not be notified of rows");
        }
    }
}

async fn listen(core: &Core, sharing: &dyn Sharing) {
    loop {
        match sharing.listen(&core.name).await {
            Ok(mut news) => {
                // Earlier notifications were missed.
                hear(core, Shards::ALL);
                core.process.renew_soon();
                while let Some(Ok(news)) = news.next().await {
                    match news {
                        PeerNotification::Rows(shards) => hear(core, shards),
                        PeerNotification::SharesChanged => core.process.renew_soon(),
                    }
                }
            }
            Err(error) => {
                tracing::warn!(service = &*core.name, %error, "notifications of other processes cannot be received; trying again")
            }
        }
        sleep(RETRY).await;
    }
}

fn hear(core: &Core, shards: Shards) {
    if core.ledger().mark_stale(shards) {
        core.relay_wake.notify_one();
    }
}

/// Counts the rows of the whole service.
async fn count(core: &Core, sharing: &dyn Sharing) {
    let most = core.settings.outbox_rows.saturating_mul(COUNTED);
    loop {
        match sharing.backlog(&core.name, most as u64).await {
            Ok(backlog) => {
                core.process.counted.store(usize::try_from(backlog.rows).unwrap_or(usize::MAX), Ordering::Relaxed);
                core.series.outbox_rows.set_count(backlog.rows);
                let age = backlog.oldest.map_or(Duration::ZERO, |oldest| core.clock.now().since(oldest));
                core.series.outbox_age_seconds.set(age.as_secs_f64());
                core.outbox_room.notify_one();
                core.record_activity();
            }
            Err(error) => tracing::debug!(service = &*core.name, %error, "the outbox could not be counted"),
        }
        // The consumer and the callers of units of work can continue only after a count that shows room, so a full outbox is counted more
        // often.
        sleep(if core.outbox_full() { RETRY } else { COUNT }).await;
    }
}
