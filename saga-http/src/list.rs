//! Lists in pages, from a table of the service.

use std::fmt::Write;

use saga_core::store::Database;
use sqlx::{
    Any, Arguments, AssertSqlSafe, FromRow,
    any::{AnyArguments, AnyRow},
    query::Query,
};

use super::{Listed, Page, Problem};

/// A list endpoint: the rows of a table, in pages, with optional conditions.
///
/// ```
/// # use axum::Extension;
/// # use saga_core::runtime::ServiceHandle;
/// # use saga_http::{List, Listed, Page, Problem, Query};
/// #[derive(serde::Deserialize)]
/// struct Filter {
///     status: Option<String>,
/// }
///
/// #[derive(serde::Serialize, sqlx::FromRow)]
/// struct Order {
///     order_id: String,
///     status: String,
/// }
///
/// async fn orders(
///     Extension(service): Extension<ServiceHandle>,
///     Query(filter): Query<Filter>,
///     page: Page,
/// ) -> Result<Listed<Order>, Problem> {
///     let list = List::of("orders").only("status", filter.status);
///     list.ordered("created_at DESC, order_id DESC").page(service.database(), &page).await
/// }
/// ```
///
/// The names of tables and columns are part of the statements, so they are `'static`: never external input. Values are bound.
///
/// A page takes two statements: one counts the rows, the other selects those of the page. Rows that are added between the requests of two
/// pages move others to a later page. For the rows of a page to be defined, the order must be unique: end it with the primary key.
#[derive(Debug, Clone)]
pub struct List {
    table: &'static str,
    order: &'static str,
    conditions: Vec<(&'static str, ListValue)>,
}

/// A value that a column of a [`List`] is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListValue {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
}

impl From<String> for ListValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for ListValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for ListValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl List {
    /// Lists the rows of `table`, in the order of its first column.
    pub fn of(table: &'static str) -> Self {
        Self { table, order: "1", conditions: Vec::new() }
    }

    /// Sets the order, as `ORDER BY` takes it: `"created_at DESC, order_id DESC"`.
    #[must_use]
    pub fn ordered(self, order: &'static str) -> Self {
        Self { order, ..self }
    }

    /// Lists only rows whose `column` has this value. `None` is no condition.
    #[must_use]
    pub fn only(mut self, column: &'static str, value: Option<impl Into<ListValue>>) -> Self {
        self.conditions.extend(value.map(|value| (column, value.into())));
        self
    }

    /// Reads one page, and the number of rows on all pages. The whole row is selected for `T`.
    ///
    /// # Errors
    /// 503 if the database is unavailable; 500 if a statement is invalid or a row is no `T`.
    pub async fn page<T>(&self, db: &Database, page: &Page) -> Result<Listed<T>, Problem>
    where
        T: for<'r> FromRow<'r, AnyRow>,
    {
        let (counting, arguments) = self.statement("COUNT(*)")?;
        let counted = query(counting, arguments).fetch_one(db).await?;
        let (total,): (i64,) = FromRow::from_row(&counted)?;
        let (mut selecting, mut arguments) = self.statement("*")?;
        let (limit, offset) = (i64::from(page.limit()), i64::try_from(page.offset()).unwrap_or(i64::MAX));
        let before = self.conditions.len();
        for number in [limit, offset] {
            arguments.add(number).map_err(Problem::internal)?;
        }
        write!(selecting, " ORDER BY {} LIMIT ${} OFFSET ${}", self.order, before + 1, before + 2).map_err(Problem::internal)?;
        let rows = query(selecting, arguments).fetch_all(db).await?;
        let items = rows.iter().map(T::from_row).collect::<Result<_, _>>()?;
        Ok(page.list(items, u64::try_from(total).unwrap_or_default()))
    }

    /// Returns the statement that selects `what` from the rows that meet the conditions, and its arguments.
    fn statement(&self, what: &str) -> Result<(String, AnyArguments), Problem> {
        let (mut text, mut arguments) = (format!("SELECT {what} FROM {}", self.table), AnyArguments::default());
        for (index, (column, value)) in self.conditions.iter().enumerate() {
            let conjunction = if index == 0 { "WHERE" } else { "AND" };
            write!(text, " {conjunction} {column} = ${}", index + 1).map_err(Problem::internal)?;
            match value {
                ListValue::Text(text) => arguments.add(text.clone()),
                ListValue::Integer(number) => arguments.add(*number),
            }
            .map_err(Problem::internal)?;
        }
        Ok((text, arguments))
    }
}

fn query(text: String, arguments: AnyArguments) -> Query<'static, Any, AnyArguments> {
    sqlx::query_with(AssertSqlSafe(text), arguments)
}

#[cfg(test)]
mod tests {
    use axum::{http::Uri, response::IntoResponse};
    use http_body_util::BodyExt;
    use saga_core::{store::Migration, testing};
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Serialize, Deserialize, FromRow)]
    struct Cup {
        id: i64,
    }

    const CUPS: &[Migration] = &[Migration {
        version: 1,
        name: "cups",
        sql: "CREATE TABLE cups (id BIGINT PRIMARY KEY, owner TEXT NOT NULL, size BIGINT NOT NULL);
              INSERT INTO cups (id, owner, size) VALUES (1, 'ada', 2), (2, 'bob', 2), (3, 'ada', 3), (4, 'ada', 2)",
    }];

    async fn ids(list: List, db: &Database, uri: &'static str) -> (Vec<i64>, String) {
        let page = Page::at(Uri::from_static(uri));
        let response = list.page::<Cup>(db, &page).await.expect("a list").into_response();
        let total = response.headers()["x-total-count"].to_str().expect("text").to_owned();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let cups: Vec<Cup> = serde_json::from_slice(&body).expect("cups");
        (cups.into_iter().map(|cup| cup.id).collect(), total)
    }

    #[tokio::test]
    async fn a_page_has_the_rows_that_meet_every_condition() {
        let db = testing::database(CUPS).await;
        let all = || List::of("cups").ordered("id DESC");
        let none = None::<&str>;
        for (list, uri, found, total) in [
            (all(), "/", vec![4, 3, 2, 1], "4"),
            (all().only("owner", none), "/?size=3", vec![4, 3, 2], "4"),
            (all().only("owner", Some("ada")), "/?size=2&page=1", vec![1], "3"),
            (all().only("owner", Some("ada")).only("size", Some(2)), "/", vec![4, 1], "2"),
            (all().only("owner", Some("x' OR ''='")), "/", vec![], "0"),
            (all(), "/?page=18446744073709551&size=500", vec![], "4"),
        ] {
            assert_eq!(ids(list.clone(), &db, uri).await, (found, total.to_owned()), "{list:?} {uri}");
        }
    }

    #[tokio::test]
    async fn a_row_that_is_no_item_fails_the_request() {
        #[derive(FromRow)]
        struct Saucer {
            _width: i64,
        }
        let db = testing::database(CUPS).await;
        let problem = List::of("cups").page::<Saucer>(&db, &Page::at(Uri::from_static("/"))).await.err().expect("no width");
        assert_eq!(problem.status(), 500);
    }
}
