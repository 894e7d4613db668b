//! The framework's own statements, one module per table.
//!
//! Many rows are written with few statements, because SQLite's driver passes every statement to a thread, which costs more than the row. To
//! limit the number of prepared statements, rows are written in portions whose sizes are powers of two.

pub(super) mod clock;
pub(super) mod dead_letters;
pub(super) mod definitions;
pub(super) mod handled;
pub(super) mod history;
pub(super) mod inbox;
pub(super) mod instances;
mod keys;
pub(super) mod letter_queries;
pub(super) mod outbox;
pub(super) mod parked;
pub(super) mod partitions;
mod publish;
pub(super) mod received;
pub(super) mod replays;
pub(super) mod services;
pub(super) mod steps;
pub(super) mod takers;
pub(super) mod topics;

use std::fmt::Write;

use sqlx::SqliteConnection;

pub(in crate::store::sqlite) use publish::publishing;

use crate::store::sql_errors::{counted, unreadable};

pub(in crate::store::sqlite) use crate::store::sql_errors::Failed;

/// The number of rows in the largest statement. With ten columns it stays far below SQLite's limit of 32,766 variables.
const LARGEST: usize = 256;

/// Runs a statement without parameters or rows.
pub(in crate::store::sqlite) async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Failed> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

/// Splits `items` into portions whose lengths are powers of two.
fn portions<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = 1 << items.len().min(LARGEST).checked_ilog2()?;
        let (portion, rest) = items.split_at(size);
        items = rest;
        Some(portion)
    })
}

/// `(?1, ?2, ?3), (?1, ?4, ?5), …`: `rows` rows, each with the `shared` first parameters, which are the same for all, and `own` parameters
/// of its own.
fn values(rows: usize, shared: usize, own: usize) -> String {
    let mut sql = String::with_capacity(rows * (shared + own) * 6);
    for row in 0..rows {
        let first = shared + row * own;
        let parameters = (1..=shared).chain(first + 1..=first + own);
        for (index, parameter) in parameters.enumerate() {
            let before = if index > 0 {
                ", "
            } else if row > 0 {
                "), ("
            } else {
                "("
            };
            // Writing to a `String` cannot fail.
            let _ = write!(sql, "{before}?{parameter}");
        }
    }
    sql.push(')');
    sql
}

/// `?3, ?4, …`: `count` parameters after the first `shared`.
fn parameters(shared: usize, count: usize) -> String {
    let all: Vec<_> = (shared + 1..=shared + count).map(|place| format!("?{place}")).collect();
    all.join(", ")
}

/// Integers as one parameter, for `json_each`.
fn json(ids: &[i64]) -> String {
    let mut text = String::with_capacity(ids.len() * 8 + 2);
    for (index, id) in ids.iter().enumerate() {
        let _ = write!(text, "{}{id}", if index == 0 { "[" } else { "," });
    }
    text.push_str(if ids.is_empty() { "[]" } else { "]" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_powers_of_two_and_keep_the_order() {
        let items: Vec<usize> = (0..1000).collect();
        let portions: Vec<&[usize]> = portions(&items).collect();
        assert_eq!(portions.iter().map(|portion| portion.len()).collect::<Vec<_>>(), [256, 256, 256, 128, 64, 32, 8]);
        assert_eq!(portions.concat(), items);
        assert_eq!(super::portions::<u8>(&[]).count(), 0);
    }

    #[test]
    fn parameters_are_shared_or_of_a_row() {
        assert_eq!(values(2, 1, 2), "(?1, ?2, ?3), (?1, ?4, ?5)");
        assert_eq!(values(1, 0, 1), "(?1)");
    }

    #[test]
    fn parameters_follow_those_that_are_shared() {
        assert_eq!((parameters(2, 3), parameters(0, 1)), ("?3, ?4, ?5".into(), "?1".into()));
    }

    #[test]
    fn ids_are_a_json_array() {
        assert_eq!((json(&[]), json(&[7]), json(&[1, -2])), ("[]".into(), "[7]".into(), "[1,-2]".into()));
    }
}
