//! The five services. Each has a folder with its rules and SQL in `domain`, its handlers in `handlers`, its HTTP routes in `http`
//! and its tables in `schema.sql`. Its function `service` assembles them.

pub mod analytics;
pub mod inventory;
pub mod notification;
pub mod order;
pub mod payment;
mod sql;

use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use sqlx::{Row, any::AnyRow, error::BoxDynError};
use utoipa::openapi::{InfoBuilder, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::sql::{Statement, sum, summed};
use crate::contracts::Money;

/// The prefix under which every route is served in addition to its short path.
pub(crate) const VERSION: &str = "/api/v1";

/// Returns a router without routes, whose OpenAPI description has this title and description.
pub(crate) fn api(title: &str, description: &str) -> OpenApiRouter {
    let info = InfoBuilder::new().title(title).version(env!("CARGO_PKG_VERSION")).description(Some(description));
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
}

/// Reads a column with a text as the value that the text stands for.
pub(crate) fn parsed<T: FromStr<Err: Into<BoxDynError>>>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    row.try_get::<String, _>(column)?.parse().map_err(|error: T::Err| damaged(column, error))
}

/// Reads a column with an amount in minor units.
pub(crate) fn amount(row: &AnyRow, column: &str) -> sqlx::Result<Money> {
    Money::stored(row.try_get(column)?).map_err(|error| damaged(column, error))
}

/// The error for a column whose value is not what the service writes.
pub(crate) fn damaged(column: &str, error: impl Into<BoxDynError>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.into() }
}

/// Deserializes a field that must not be `null`. Without this, serde reads `null` as `None`, the same as a missing field.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
