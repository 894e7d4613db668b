//! Several instances on one database: leases of shards, and `NOTIFY`.
//!
//! What is told is a notification outside of any business transaction: within one, all that notify would commit one after the
//! other. None of it has to be durable, and none of it waits for the disk.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use sqlx::postgres::PgListener;

use super::{
    super::{Backlog, News, Share, Sharing, StoreError},
    PostgresStore, ask,
    statements::sharing,
};
use crate::message::Shards;

/// What is told when shares have changed. Anything else is a set of shards with rows.
const SHARES: &str = "shares";

#[async_trait]
impl Sharing for PostgresStore {
    async fn share(&self, service: &str, instance: &str, ttl: Duration, freed: Shards) -> Result<Share, StoreError> {
        ask!(self, sharing, connection => sharing::share(connection, service, instance, ttl, freed))
    }

    async fn leave(&self, service: &str, instance: &str) -> Result<(), StoreError> {
        ask!(self, sharing, connection => sharing::leave(connection, service, instance))
    }

    async fn tell(&self, service: &str, news: News) -> Result<(), StoreError> {
        let (channel, payload) = (self.channel(service), payload(news));
        ask!(self, sharing, connection => sharing::notify(connection, &channel, &payload))
    }

    async fn news(&self, service: &str) -> Result<BoxStream<'static, Result<News, StoreError>>, StoreError> {
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
                    // What is told until there is a new connection is not heard: whoever listens begins anew.
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
    /// The channel of a service in this schema: a channel is the whole database's, and its name has 63 bytes.
    fn channel(&self, service: &str) -> String {
        let digest = |text: &str| {
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
        };
        format!("sagas_{:016x}{:016x}", digest(&self.connector.options.schema), digest(service))
    }
}

fn payload(news: News) -> String {
    match news {
        News::Rows(shards) => shards.bits().to_string(),
        News::Shares => SHARES.to_owned(),
    }
}

fn parse(payload: &str) -> News {
    if payload == SHARES { News::Shares } else { News::Rows(payload.parse().map_or(Shards::ALL, Shards::from_bits)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_read_as_they_were_written() {
        for news in [News::Shares, News::Rows(Shards::ALL), News::Rows(Shards::from_bits(5)), News::Rows(Shards::default())] {
            assert_eq!(parse(&payload(news)), news);
        }
        assert_eq!(parse("of a newer program"), News::Rows(Shards::ALL));
    }
}
