//! This process among the instances of its service: which shards of the outbox it may send, and what they tell each other.
//!
//! Nothing here decides about the order of rows; that is the ledger's. What is kept here is that few rows are sent by two: an
//! instance asks for its share again and again, and stops sending when it cannot be sure that its shards are still its own.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::super::core::Core;
use crate::{
    message::Shards,
    store::{News, Sharing, StoreError},
};

/// For how long shards are leased.
const TTL: Duration = Duration::from_secs(5);
/// How often the lease is renewed.
const RENEW: Duration = Duration::from_millis(1_500);
/// The end of a lease, in which nothing more is given to the transport.
const MARGIN: Duration = Duration::from_secs(1);
/// How long to wait when the database does not answer as it should.
const RETRY: Duration = Duration::from_millis(500);
/// How often the rows of the whole service are counted.
const COUNT: Duration = Duration::from_secs(5);
/// How many times the limit of the outbox is counted at most.
const COUNTED: usize = 5;

/// This process among the instances of its service. A process that has its database to itself is never told anything.
#[derive(Debug)]
pub(crate) struct Instance {
    /// What it is called in the database; `None`: it is alone.
    id: Option<String>,
    /// Until when its shards are surely its own, by the clock of this machine.
    until: Mutex<Option<Instant>>,
    /// Shards of others in which rows were committed here.
    strange: Mutex<Shards>,
    strange_wake: Notify,
    /// There is a reason to ask for a share now.
    share: Notify,
    /// Rows of the whole service, as last counted.
    counted: AtomicUsize,
}

impl Instance {
    pub(crate) fn new(id: Option<String>) -> Self {
        Self {
            id,
            until: Mutex::default(),
            strange: Mutex::default(),
            strange_wake: Notify::new(),
            share: Notify::new(),
            counted: AtomicUsize::new(0),
        }
    }

    /// Has the owners of `shards` told that rows of theirs were committed here.
    pub(crate) fn tell(&self, shards: Shards) {
        if !shards.is_empty() {
            let mut strange = lock(&self.strange);
            *strange = strange.and(shards);
            self.strange_wake.notify_one();
        }
    }

    /// Rows of the whole service's outbox, as last counted; 0 for a process that is alone.
    pub(crate) fn counted(&self) -> usize {
        self.counted.load(Ordering::Relaxed)
    }

    /// Whether there may be others.
    pub(super) fn is_shared(&self) -> bool {
        self.id.is_some()
    }

    /// Whether the shards are surely ours.
    pub(super) fn may_send(&self) -> bool {
        !self.is_shared() || lock(&self.until).is_some_and(|until| Instant::now() + MARGIN < until)
    }

    /// Asks for the share anew, soon.
    pub(super) fn ask(&self) {
        self.share.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sharing of the service's database, and the name of this instance; `None`: it is alone.
fn shared(core: &Core) -> Option<(&dyn Sharing, &str)> {
    Some((core.store().sharing()?, core.instance.id.as_deref()?))
}

/// Asks for the first share.
pub(super) async fn join(core: &Core) -> Result<(), StoreError> {
    if let Some((sharing, id)) = shared(core) {
        share(core, sharing, id).await?;
        // Those who have too much now give it up at once.
        return sharing.tell(&core.name, News::Shares).await;
    }
    Ok(())
}

/// Gives everything back, so that others take it over at once. Should that fail, they do when the lease is over.
pub(crate) async fn leave(core: &Core) {
    if let Some((sharing, id)) = shared(core) {
        let left = async {
            sharing.leave(&core.name, id).await?;
            sharing.tell(&core.name, News::Shares).await
        };
        if let Err(error) = left.await {
            tracing::warn!(service = &*core.name, %error, "the shards of the outbox could not be given back");
        }
    }
}

/// Does what several instances need, for ever.
pub(super) async fn run(core: Arc<Core>) {
    match shared(&core) {
        Some((sharing, id)) => {
            tokio::join!(renew(&core, sharing, id), tell(&core, sharing), listen(&core, sharing), count(&core, sharing));
        }
        None => std::future::pending().await,
    }
}

async fn renew(core: &Core, sharing: &dyn Sharing, id: &str) {
    loop {
        tokio::select! {
            () = sleep(RENEW) => {}
            () = core.instance.share.notified() => {}
        }
        while let Err(error) = share(core, sharing, id).await {
            tracing::warn!(service = &*core.name, %error, "the lease on the outbox could not be renewed; trying again");
            sleep(RETRY).await;
        }
    }
}

async fn share(core: &Core, sharing: &dyn Sharing, id: &str) -> Result<(), StoreError> {
    let freed = core.ledger().vacated();
    let asked = Instant::now();
    let late = |_| StoreError::Unavailable(format!("no answer within {TTL:?}"));
    let share = timeout(TTL, sharing.share(&core.name, id, TTL, freed)).await.map_err(late)??;
    *lock(&core.instance.until) = Some(asked + TTL);
    let leases: Vec<_> = share.leases.iter().map(|lease| (lease.shard, lease.epoch)).collect();
    let dropped = {
        let mut ledger = core.ledger();
        let dropped = ledger.own(&leases);
        ledger.balance(share.fair);
        dropped
    };
    core.instance.tell(dropped);
    core.moved();
    core.relay_wake.notify_one();
    if !freed.is_empty() {
        tracing::info!(service = &*core.name, shards = ?freed, "gave up shards of the outbox");
        sharing.tell(&core.name, News::Shares).await?;
    }
    Ok(())
}

/// Tells owners of rows of theirs. While one word is on its way, further ones become one.
async fn tell(core: &Core, sharing: &dyn Sharing) {
    loop {
        core.instance.strange_wake.notified().await;
        let shards = std::mem::take(&mut *lock(&core.instance.strange));
        if shards.is_empty() {
            continue;
        }
        if let Err(error) = sharing.tell(&core.name, News::Rows(shards)).await {
            // They look by themselves, only later.
            tracing::debug!(service = &*core.name, %error, "other instances could not be told of rows");
        }
    }
}

async fn listen(core: &Core, sharing: &dyn Sharing) {
    loop {
        match sharing.news(&core.name).await {
            Ok(mut news) => {
                // What was told before is not heard.
                hear(core, Shards::ALL);
                core.instance.ask();
                while let Some(Ok(news)) = news.next().await {
                    match news {
                        News::Rows(shards) => hear(core, shards),
                        News::Shares => core.instance.ask(),
                    }
                }
            }
            Err(error) => tracing::warn!(service = &*core.name, %error, "other instances cannot be heard; trying again"),
        }
        sleep(RETRY).await;
    }
}

fn hear(core: &Core, shards: Shards) {
    if core.ledger().hear(shards) {
        core.relay_wake.notify_one();
    }
}

/// Counts what the whole service has in its outbox.
async fn count(core: &Core, sharing: &dyn Sharing) {
    let most = core.settings.outbox_rows.saturating_mul(COUNTED);
    loop {
        match sharing.backlog(&core.name, most as u64).await {
            Ok(backlog) => {
                core.instance.counted.store(usize::try_from(backlog.rows).unwrap_or(usize::MAX), Ordering::Relaxed);
                core.series.outbox_rows.set_count(backlog.rows);
                let age = backlog.oldest.map_or(Duration::ZERO, |oldest| core.clock.now().since(oldest));
                core.series.outbox_age_seconds.set(age.as_secs_f64());
                core.outbox_room.notify_one();
                core.moved();
            }
            Err(error) => tracing::debug!(service = &*core.name, %error, "the outbox could not be counted"),
        }
        // Whoever waits for room is not to wait for long.
        sleep(if core.outbox_full() { RETRY } else { COUNT }).await;
    }
}
