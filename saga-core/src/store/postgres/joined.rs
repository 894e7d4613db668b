//! A transaction that other code has begun, on its own connection.
//!
//! Its `search_path` is not changed, so the statements name the schema. `sagas.unit` is set to `4` until the end of the transaction, so
//! that the same statements run as in a transaction of the framework. The triggers of `schema.sql`, which prevent a handler from
//! committing, check for other values and do not affect this transaction.
//!
//! The relay does not see the commit, so the transaction itself sends a notification. PostgreSQL delivers it after the commit, and never
//! after a rollback.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{PgConnection, Row};

use super::{
    super::{PeerNotification, StoreError},
    PostgresStore, ask,
    connect::Connector,
    errors,
    sharing::{channel, payload},
    statements::{Failed, publishing, sharing, tables::Tables},
    text::quoted,
};
use crate::message::Record;

/// The identity of an outbox: its database and its table.
pub(super) type Found = (String, Option<i64>);

/// A transaction that other code has begun.
pub(super) struct Joined<'c> {
    connection: &'c mut PgConnection,
    connector: Arc<Connector>,
}

impl PostgresStore {
    /// Joins the transaction that is open on `connection`.
    pub(super) async fn joined<'c>(&self, connection: &'c mut PgConnection) -> Result<Joined<'c>, StoreError> {
        let mut joined = Joined { connection, connector: Arc::clone(&self.connector) };
        let (name, schema) = (&self.connector.name, &self.connector.options.schema);
        match joined.publish(async |connection, _| enter(connection).await).await?.as_str() {
            MARK => {}
            _ => {
                return Err(StoreError::Refused(format!(
                    "{name}: the transaction is the framework's own; publish with `Tx::publish`, or return the event from the handler"
                )));
            }
        }
        let (mark, theirs) = joined.publish(async |connection, tables| look(connection, tables.outbox()).await).await?;
        if mark != MARK {
            return Err(StoreError::Refused(format!(
                "{name}: no transaction is open on the connection; begin one, publish in it, and commit it"
            )));
        }
        if self.outbox_of_ours(&theirs).await? {
            return Ok(joined);
        }
        let (database, table) = theirs;
        let schema = quoted(schema);
        Err(StoreError::Refused(match table {
            Some(_) => format!(
                "{name}: the transaction is in another database, also called `{database}`, whose outbox the service does not send; \
                 connect to the same server and database as the service"
            ),
            None => format!(
                "{name}: the transaction is in the database `{database}`, which has no table {schema}.sagas_outbox; connect to the \
                 same database as the service"
            ),
        }))
    }

    /// Whether `theirs` is the outbox that this store reads.
    async fn outbox_of_ours(&self, theirs: &Found) -> Result<bool, StoreError> {
        let known = || self.outbox.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if theirs.1.is_none() || known().as_ref() == Some(theirs) {
            return Ok(theirs.1.is_some());
        }
        let tables = Tables::In(&self.connector.options.schema);
        let asked: Result<_, StoreError> = ask!(self, reading, connection => look(connection, tables.outbox()));
        let (_, ours) = asked?;
        *self.outbox.lock().unwrap_or_else(PoisonError::into_inner) = Some(ours.clone());
        Ok(ours == *theirs)
    }
}

/// The outbox of this store, as it was last found.
pub(super) type KnownOutbox = Mutex<Option<Found>>;

/// The value of `sagas.unit` in a joined transaction.
const MARK: &str = "4";

/// Marks the transaction, unless it is one of the framework's own. Returns the mark that it then has.
async fn enter(connection: &mut PgConnection) -> Result<String, Failed> {
    let sql = "SELECT set_config('sagas.unit', CASE WHEN COALESCE(current_setting('sagas.unit', true), '') IN ('', '4') THEN '4' \
               ELSE current_setting('sagas.unit', true) END, true)";
    Ok(sqlx::query_scalar(sql).fetch_one(connection).await?)
}

/// Returns the mark of the transaction, and the outbox called `name`. If no transaction is open, the mark was lost with the previous
/// statement.
async fn look(connection: &mut PgConnection, name: String) -> Result<(String, Found), Failed> {
    let sql = "SELECT COALESCE(current_setting('sagas.unit', true), ''), current_database()::text, to_regclass($1)::oid::bigint";
    let row = sqlx::query(sql).bind(name).fetch_one(connection).await?;
    Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)))
}

impl Joined<'_> {
    async fn publish<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection, Tables<'_>) -> Result<T, Failed>,
    ) -> Result<T, StoreError> {
        let (place, schema) = (&self.connector.name, &self.connector.options.schema);
        statement(&mut *self.connection, Tables::In(schema)).await.map_err(|failed| {
            let help = failed.sql().and_then(|error| errors::of_others(place, schema, error));
            help.unwrap_or_else(|| failed.at(place))
        })
    }

    /// Notifies the owners of the rows' shards with the commit.
    async fn appended(&mut self, service: &str, rows: &[Record]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let channel = channel(&self.connector.options.schema, service);
        let news = payload(PeerNotification::Rows(rows.iter().map(Record::shard).collect()));
        self.publish(async |connection, _| sharing::notify(connection, &channel, &news).await).await
    }
}

publishing!(Joined<'_>);
