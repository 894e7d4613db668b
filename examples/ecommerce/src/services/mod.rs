//! The five services. Each has its folder: rules and SQL in `domain`, what it reacts to in `handlers`, its calls in `http`, its
//! tables in `schema.sql`; `service` puts them together.

pub mod analytics;
pub mod inventory;
pub mod notification;
pub mod order;
pub mod payment;
mod sql;

use sagas::{
    Database, Fault,
    http::Page,
    store::{SqlConnection, Tx},
};
use serde::{Deserialize, Deserializer};
use sqlx::{Row, any::AnyRow};
use utoipa::openapi::{InfoBuilder, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::sql::{Statement, sum, summed};

/// Under what everything is served besides its short paths.
pub(crate) const VERSION: &str = "/api/v1";

/// The routes of a service, none yet, that are described under this title.
pub(crate) fn api(title: &str, description: &str) -> OpenApiRouter {
    let info = InfoBuilder::new().title(title).version(env!("CARGO_PKG_VERSION")).description(Some(description));
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
}

/// One page of what `select` finds, and how many rows that is on all pages. `select` writes the statement up to its conditions,
/// given the columns; `newest_first` are the columns to order by.
///
/// # Errors
/// When the database cannot be read, or holds a row that is no `T`.
pub(crate) async fn listed<T>(
    db: &Database,
    page: &Page,
    newest_first: &'static str,
    select: impl Fn(&str) -> Result<Statement, Fault>,
) -> Result<(Vec<T>, u64), Fault>
where
    T: for<'a> TryFrom<&'a AnyRow, Error = Fault>,
{
    let total: i64 = select("COUNT(*)")?.query().fetch_one(db).await?.try_get(0)?;
    let mut list = select("*")?;
    list.push(" ORDER BY ").push(newest_first).push(" LIMIT ").bind(i64::from(page.limit()))?;
    list.push(" OFFSET ").bind(i64::try_from(page.offset()).unwrap_or(i64::MAX))?;
    let rows = list.query().fetch_all(db).await?;
    Ok((rows.iter().map(T::try_from).collect::<Result<_, _>>()?, u64::try_from(total)?))
}

/// Locks what `select`, a statement `SELECT … FOR UPDATE` about `id`, finds, until the transaction ends. SQLite has one writer at a
/// time: there is nothing to lock.
///
/// # Errors
/// When the database cannot be used.
pub(crate) async fn lock(tx: &mut Tx, select: &'static str, id: &str) -> Result<(), Fault> {
    if let SqlConnection::Postgres(connection) = tx.connection().await? {
        sqlx::query(select).bind(id).execute(connection).await?;
    }
    Ok(())
}

/// A value that is there: `null` is none.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
