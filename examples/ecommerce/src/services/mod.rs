//! The five services. Each has a folder with its rules and SQL in `domain`, its handlers in `handlers`, its HTTP routes in `http`
//! and its tables in `schema.sql`. Its function `service` assembles them.

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

/// The prefix under which every route is served in addition to its short path.
pub(crate) const VERSION: &str = "/api/v1";

/// Returns a router without routes, whose OpenAPI description has this title and description.
pub(crate) fn api(title: &str, description: &str) -> OpenApiRouter {
    let info = InfoBuilder::new().title(title).version(env!("CARGO_PKG_VERSION")).description(Some(description));
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
}

/// Returns one page of the rows that `select` finds, and the number of rows on all pages. `select` takes the columns and returns
/// the statement up to its conditions; `newest_first` are the columns to order by.
///
/// # Errors
/// When the database cannot be read, or when a row cannot be decoded as a `T`.
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

/// Locks the rows that `select`, a statement `SELECT … FOR UPDATE` with `id` as its parameter, finds, until the transaction ends.
/// Does nothing on SQLite, which has one writer at a time.
///
/// # Errors
/// When the database cannot be used.
pub(crate) async fn lock(tx: &mut Tx, select: &'static str, id: &str) -> Result<(), Fault> {
    if let SqlConnection::Postgres(connection) = tx.connection().await? {
        sqlx::query(select).bind(id).execute(connection).await?;
    }
    Ok(())
}

/// Deserializes a field that must not be `null`. Without this, serde reads `null` as `None`, the same as a missing field.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
