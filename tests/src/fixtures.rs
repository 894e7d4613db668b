//! What many tests begin with.

use sagas::{
    store::Database,
    time::{Clock, Timestamp},
};

/// Returns a clock that stands still at the beginning of 2026 until the test moves it.
pub fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_767_225_600_000))
}

/// Opens a database in memory with SQL.
///
/// # Panics
/// Panics when it cannot be opened.
pub async fn sqlite() -> Database {
    Database::open("sqlite::memory:").await.unwrap()
}
