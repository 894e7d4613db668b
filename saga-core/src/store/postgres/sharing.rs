//! Several processes on one database: leases of shards, and `NOTIFY`.
//!
//! Notifications are sent outside of business transactions, because PostgreSQL serializes the commits of all transactions that notify. None
//! of this data must be durable, so its commits do not wait for the disk.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use sqlx::postgres::PgListener;

use super::{
    super::{Backlog, PeerNotification, Share, Sharing, StoreError},
    PostgresStore, ask,
    statements::sharing,
};
use crate::message::Shards;

/// The payload of a notification that shares have changed. Any other payload is a set of shards with rows.
const SHARES: &str = "shares";

#[async_trait]
impl Sharing for PostgresStore {
    async fn acquire_leases(&self, service: &str, process: &str, ttl: Duration, freed: Shards) -> Result<Share, StoreError> {
        ask!(self, sharing, connection => sharing::acquire_leases(connection, service, process, ttl, freed))
    }

    async fn leave(&self, service: &str, process: &str) -> Result<(), StoreError> {
        ask!(self, sharing, connection => sharing::leave(connection, service, process))
    }

    async fn notify(&self, service: &str, notification: PeerNotification) -> Result<(), StoreError> {
        let (channel, payload) = (self.channel(service), payload(notification));
        ask!(self, sharing, connection => sharing::notify(connection, &channel, &payload))
    }

    async fn listen(&self, service: &str) -> Result<BoxStream<'static, Result<PeerNotification, StoreError>>, StoreError> {
        let listening = async {
            let mut listener = PgListener::connect_with(&self.connector.listener()).await?;
            listener.eager_reconnect(false);
            listener.listen(&self.channel(service)).await?;
            Ok(listener)
        };
        let listener = listening.await.map_err(|error| self.connector.error(&error))?;
        let place = self.connector.name.clone();
        let news = stream::unfold(Some(listener), move |listener| {
            let place = place.clone();
            async move {
                let mut listener = listener?;
                match listener.try_recv().await {
                    Ok(Some(notification)) => Some((Ok(parse(notification.payload())), Some(listener))),
                    // Notifications are lost until there is a new connection, so the stream ends and the listener starts again.
                    Ok(None) => Some((Err(StoreError::Unavailable(format!("{place}: the connection was lost"))), None)),
                    Err(error) => Some((Err(super::super::sql_errors::store_error(&place, &error)), None)),
                }
            }
        });
        Ok(news.boxed())
    }

    async fn backlog(&self, service: &str, most: u64) -> Result<Backlog, StoreError> {
        ask!(self, sharing, connection => sharing::backlog(connection, service, most))
    }
}

impl PostgresStore {
    fn channel(&self, service: &str) -> String {
        channel(&self.connector.options.schema, service)
    }
}

/// The channel of a service in a schema. A channel belongs to the whole database, and its name has at most 63 bytes.
pub(super) fn channel(schema: &str, service: &str) -> String {
    let digest = |text: &str| {
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    format!("sagas_{:016x}{:016x}", digest(schema), digest(service))
}

pub(super) fn payload(notification: PeerNotification) -> String {
    match notification {
        PeerNotification::Rows(shards) => shards.bits().to_string(),
        PeerNotification::SharesChanged => SHARES.to_owned(),
    }
}

fn parse(payload: &str) -> PeerNotification {
    if payload == SHARES {
        PeerNotification::SharesChanged
    } else {
        PeerNotification::Rows(payload.parse().map_or(Shards::ALL, Shards::from_bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_read_as_they_were_written() {
        for news in [
            PeerNotification::SharesChanged,
            PeerNotification::Rows(Shards::ALL),
            PeerNotification::Rows(Shards::from_bits(5)),
            PeerNotification::Rows(Shards::default()),
        ] {
            assert_eq!(parse(&payload(news)), news);
        }
        assert_eq!(parse("of a newer program"), PeerNotification::Rows(Shards::ALL));
    }
}
