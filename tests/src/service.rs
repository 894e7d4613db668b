//! What the tests of services have in common: a clock, databases, and the values of metrics.

use sagas::{
    Database, ServiceHandle,
    time::{Clock, Timestamp},
};

/// Creates a clock that only the test moves. It begins at 2026-01-01T00:00:00Z.
pub fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_767_225_600_000))
}

/// Opens an SQLite database in memory.
pub async fn sqlite() -> Database {
    Database::open("sqlite::memory:").await.unwrap()
}

/// Returns a database of each kind that needs no server.
pub async fn databases() -> [Database; 2] {
    [Database::memory(), sqlite().await]
}

/// Returns the sum of the series `name` whose labels contain `labels`, as in `step="Charge",reason="again"`.
pub fn metric(service: &ServiceHandle, name: &str, labels: &str) -> f64 {
    let text = service.metrics().render();
    let series = text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(labels));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
