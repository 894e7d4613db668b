//! Statements that are built at run time, for either database. Their placeholders are `$1`, `$2`, which SQLite and PostgreSQL
//! both support. (`sqlx::QueryBuilder` writes `?` for `sqlx::Any`, which PostgreSQL does not support.)

use std::fmt::Write;

use sagas::Fault;
use sqlx::{
    Any, Arguments, AssertSqlSafe, Encode, Row as _, Type,
    any::{AnyArguments, AnyRow},
    query::Query,
};

/// A sum of large numbers is computed in two parts, of the quotients by this number and of the remainders, so that it does not
/// overflow in the database.
const PART: i64 = 1_000_000_000;

/// Returns the columns of a `SELECT` that sum `numbers`, an expression that must not contain external input. [`summed`] reads
/// them.
pub(crate) fn sum(numbers: &str, name: &str) -> String {
    let part = |operator, suffix| format!("CAST(COALESCE(SUM(({numbers}) {operator} {PART}), 0) AS BIGINT) AS {name}_{suffix}");
    format!("{}, {}", part('/', "parts"), part('%', "rest"))
}

/// Returns the sum from the columns that [`sum`] named after `name`, or `i64::MAX` if the sum is larger.
///
/// # Errors
/// When the columns do not exist.
pub(crate) fn summed(row: &AnyRow, name: &str) -> Result<i64, sqlx::Error> {
    let column = |suffix| row.try_get::<i64, _>(format!("{name}_{suffix}").as_str());
    Ok(column("parts")?.saturating_mul(PART).saturating_add(column("rest")?))
}

/// A statement that is being built.
#[derive(Default)]
pub(crate) struct Statement {
    text: String,
    values: AnyArguments,
}

impl Statement {
    /// Creates a statement that begins with `text`, which must not contain external input.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), values: AnyArguments::default() }
    }

    /// Appends `text`, which must not contain external input.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends a placeholder and binds `value` to it.
    ///
    /// # Errors
    /// When the value cannot be encoded.
    pub(crate) fn bind<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, value: T) -> Result<&mut Self, Fault> {
        self.values.add(value).map_err(|error| Fault::new(error.to_string()))?;
        write!(self.text, "${}", self.values.len())?;
        Ok(self)
    }

    /// Appends `rows`, each in parentheses, as `VALUES` takes them.
    ///
    /// # Errors
    /// When a value cannot be encoded.
    pub(crate) fn rows<T>(
        &mut self,
        rows: impl IntoIterator<Item = T>,
        mut row: impl FnMut(&mut Row<'_>, T) -> Result<(), Fault>,
    ) -> Result<&mut Self, Fault> {
        for (at, values) in rows.into_iter().enumerate() {
            self.push(if at == 0 { "(" } else { ", (" });
            row(&mut Row { statement: self, first: true }, values)?;
            self.push(")");
        }
        Ok(self)
    }

    /// Returns the finished statement.
    pub(crate) fn query(self) -> Query<'static, Any, AnyArguments> {
        sqlx::query_with(AssertSqlSafe(self.text), self.values)
    }
}

/// One row of values in a statement.
pub(crate) struct Row<'s> {
    statement: &'s mut Statement,
    first: bool,
}

impl Row<'_> {
    /// Appends the next value of the row.
    ///
    /// # Errors
    /// When the value cannot be encoded.
    pub(crate) fn bind<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, value: T) -> Result<&mut Self, Fault> {
        if !std::mem::take(&mut self.first) {
            self.statement.push(", ");
        }
        self.statement.bind(value)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn placeholders_are_numbered() {
        let mut statement = Statement::new("INSERT INTO t (a, b) VALUES ");
        let rows = [("x", 1_i64), ("y", 2)];
        statement.rows(rows, |row, (a, b)| row.bind(a.to_owned())?.bind(b).map(drop)).unwrap();
        statement.push(" ON CONFLICT DO NOTHING");
        assert_eq!(statement.text, "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING");
        assert_eq!(statement.values.len(), 4);
    }
}
