//! How processes share the outbox, with faults.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};

use super::{
    FaultyStore, NO_IDS,
    StoreOperation::{Listen, Notify, Share as Leases},
    locked,
};
use crate::{
    message::Shards,
    store::{Backlog, PeerNotification, Share, Sharing, StoreError},
    testing::faulty::drawn,
};

impl FaultyStore {
    /// Returns how the processes share the outbox, without faults.
    pub(super) fn inner_sharing(&self) -> Option<&dyn Sharing> {
        self.sharing.as_deref().or_else(|| self.inner.sharing())
    }

    fn shared_by(&self) -> Result<&dyn Sharing, StoreError> {
        self.inner_sharing().ok_or_else(|| StoreError::Refused("only one process can use this database".to_owned()))
    }
}

#[async_trait]
impl Sharing for FaultyStore {
    async fn acquire_leases(&self, service: &str, process: &str, ttl: Duration, freed: Shards) -> Result<Share, StoreError> {
        self.shared
            .run(Leases, "sharing.acquire_leases", NO_IDS, self.shared_by()?.acquire_leases(service, process, ttl, freed))
            .await
    }

    async fn leave(&self, service: &str, process: &str) -> Result<(), StoreError> {
        self.shared.run(Leases, "sharing.leave", NO_IDS, self.shared_by()?.leave(service, process)).await
    }

    async fn notify(&self, service: &str, notification: PeerNotification) -> Result<(), StoreError> {
        let share = locked(&self.shared.faults).lose_notification;
        if share > 0.0 && drawn(&mut locked(&self.shared.rng), share) {
            return Ok(());
        }
        self.shared.run(Notify, "sharing.notify", NO_IDS, self.shared_by()?.notify(service, notification)).await
    }

    async fn listen(&self, service: &str) -> Result<BoxStream<'static, Result<PeerNotification, StoreError>>, StoreError> {
        let news = self.shared.run(Listen, "sharing.listen", NO_IDS, self.shared_by()?.listen(service)).await?;
        let next = |(news, shared)| async move {
            let (mut news, shared): (BoxStream<'static, _>, Arc<super::Shared>) = (news?, shared);
            let next = news.next().await?;
            let next = shared.run(Listen, "sharing.listen", NO_IDS, std::future::ready(next)).await;
            let rest = next.is_ok().then_some(news);
            Some((next, (rest, shared)))
        };
        Ok(stream::unfold((Some(news), Arc::clone(&self.shared)), next).boxed())
    }

    async fn backlog(&self, service: &str, most: u64) -> Result<Backlog, StoreError> {
        self.shared.run(Leases, "sharing.backlog", NO_IDS, self.shared_by()?.backlog(service, most)).await
    }
}
