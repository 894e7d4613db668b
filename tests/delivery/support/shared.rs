//! A model of a database that several processes share, as a relay uses it, with leases by tokio's clock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use sagas::{
    Database,
    port::store::{Backlog, Lease, PeerNotification, Shard, Shards, Share, Sharing, Store},
    store::StoreError,
};
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use super::store::{Faults, shared};

/// The database. Each process opens it once.
#[derive(Clone)]
pub struct SharedDatabase(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    /// The tables of each service.
    tables: Mutex<HashMap<String, Tables>>,
    news: broadcast::Sender<PeerNotification>,
    /// The number of notifications to owners.
    told: AtomicUsize,
}

#[derive(Default)]
struct Tables {
    shards: BTreeMap<Shard, Owned>,
    instances: HashMap<String, Instant>,
}

#[derive(Default)]
struct Owned {
    owner: Option<String>,
    epoch: i64,
    until: Option<Instant>,
}

/// One process's connection. While it is cut, the process cannot renew its lease and receives no notifications, but it can still
/// read and write.
pub struct Connection {
    inner: Arc<Inner>,
    cut: watch::Sender<bool>,
}

impl Connection {
    pub fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    async fn connected(&self) {
        self.cut.subscribe().wait_for(|cut| !*cut).await.unwrap();
    }
}

impl SharedDatabase {
    pub fn new() -> Self {
        let store = Database::memory().store().clone();
        Self(Arc::new(Inner { store, tables: Mutex::default(), news: broadcast::Sender::new(64), told: AtomicUsize::new(0) }))
    }

    /// Opens the database for one more process.
    pub fn open(&self) -> (Database, Arc<Connection>) {
        let connection = Arc::new(Connection { inner: self.0.clone(), cut: watch::Sender::new(false) });
        (shared(&Database::new(self.0.store.clone()), &Faults::default(), connection.clone()), connection)
    }

    /// Returns the number of shards of each live owner, the smallest first.
    pub fn shares(&self) -> Vec<usize> {
        let mut shares: HashMap<String, usize> = HashMap::new();
        let tables = self.0.tables.lock().unwrap();
        for owned in tables
            .values()
            .flat_map(|tables| tables.shards.values())
            .filter(|owned| owned.until.is_some_and(|until| until > Instant::now()))
        {
            *shares.entry(owned.owner.clone().unwrap()).or_default() += 1;
        }
        let mut shares: Vec<_> = shares.into_values().collect();
        shares.sort_unstable();
        shares
    }

    pub fn told(&self) -> usize {
        self.0.told.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Sharing for Connection {
    async fn acquire_leases(&self, service: &str, instance: &str, ttl: Duration, freed: Shards) -> Result<Share, StoreError> {
        self.connected().await;
        let mut services = self.inner.tables.lock().unwrap();
        let tables = services.entry(service.to_owned()).or_default();
        let (now, until) = (Instant::now(), Some(Instant::now() + ttl));
        tables.instances.insert(instance.to_owned(), now + ttl);
        tables.instances.retain(|_, until| *until > now);
        let fair = Shard::COUNT.div_ceil(tables.instances.len());
        let ours = |owned: &Owned| owned.owner.as_deref() == Some(instance);
        for shard in Shard::all() {
            let owned = tables.shards.entry(shard).or_default();
            if ours(owned) {
                match freed.contains(shard) {
                    true => (owned.owner, owned.until) = (None, None),
                    false => owned.until = until,
                }
            }
        }
        let mut room = fair.saturating_sub(tables.shards.values().filter(|owned| ours(owned)).count());
        for (_, owned) in tables.shards.iter_mut().filter(|(shard, _)| !freed.contains(**shard)) {
            if room > 0 && !ours(owned) && owned.until.is_none_or(|until| until <= now) {
                *owned = Owned { owner: Some(instance.to_owned()), epoch: owned.epoch + 1, until };
                room -= 1;
            }
        }
        let leases = tables.shards.iter().filter(|(_, owned)| ours(owned));
        Ok(Share { leases: leases.map(|(shard, owned)| Lease { shard: *shard, epoch: owned.epoch }).collect(), fair })
    }

    async fn leave(&self, service: &str, instance: &str) -> Result<(), StoreError> {
        self.connected().await;
        let mut services = self.inner.tables.lock().unwrap();
        let tables = services.entry(service.to_owned()).or_default();
        tables.instances.remove(instance);
        for owned in tables.shards.values_mut().filter(|owned| owned.owner.as_deref() == Some(instance)) {
            (owned.owner, owned.until) = (None, None);
        }
        Ok(())
    }

    async fn notify(&self, _: &str, news: PeerNotification) -> Result<(), StoreError> {
        self.connected().await;
        if matches!(news, PeerNotification::Rows(_)) {
            self.inner.told.fetch_add(1, Ordering::SeqCst);
        }
        let _ = self.inner.news.send(news);
        Ok(())
    }

    async fn listen(&self, _: &str) -> Result<BoxStream<'static, Result<PeerNotification, StoreError>>, StoreError> {
        self.connected().await;
        let (news, cut) = (self.inner.news.subscribe(), self.cut.subscribe());
        let heard = stream::unfold((news, cut), async |(mut news, mut cut)| {
            let next = tokio::select! {
                next = news.recv() => next.ok()?,
                _ = cut.wait_for(|cut| *cut) => return None,
            };
            Some((Ok(next), (news, cut)))
        });
        Ok(heard.boxed())
    }

    async fn backlog(&self, service: &str, most: u64) -> Result<Backlog, StoreError> {
        self.connected().await;
        let rows = self.inner.store.outbox(service, 0, usize::try_from(most).unwrap()).await?;
        Ok(Backlog { rows: rows.len() as u64, oldest: rows.iter().filter_map(|row| row.record.timestamp.time()).min() })
    }
}
