//! Where a database is and how it is used.

use std::{path::PathBuf, str::FromStr, time::Duration};

use super::super::StoreError;

/// Where a SQLite database is, and how it is used.
///
/// ```
/// # use saga_core::store::sqlite::SqliteOptions;
/// # use std::time::Duration;
/// let options = SqliteOptions::file("data/orders.db").begin_timeout(Duration::from_secs(2)).cache_mib(16);
/// let the_same_file: SqliteOptions = "sqlite://data/orders.db".parse()?;
/// # Ok::<(), saga_core::store::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    pub(super) place: Place,
    pub(super) begin_timeout: Duration,
    pub(super) cache_mib: u32,
    pub(super) readers: u32,
    pub(super) group_window: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    /// Nobody else's, and gone with the store.
    Private,
}

impl SqliteOptions {
    /// The database in the file `path`, which is created when it is missing, as are the folders above it.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::File(path.into()),
            begin_timeout: Duration::from_secs(5),
            cache_mib: 8,
            readers: 4,
            group_window: Duration::from_millis(5),
        }
    }

    /// A database that nobody else has and that is gone with its store: a file in the system's folder for temporary files, so
    /// that it behaves like any other while it is there. SQLite's own database in memory cannot be read while a transaction
    /// writes.
    pub fn private() -> Self {
        Self { place: Place::Private, ..Self::file("") }
    }

    /// How long beginning a transaction, or getting a connection for reading, may wait. 5 s.
    #[must_use]
    pub fn begin_timeout(mut self, timeout: Duration) -> Self {
        self.begin_timeout = timeout;
        self
    }

    /// Memory for pages, per connection, in MiB. 8.
    #[must_use]
    pub fn cache_mib(mut self, mib: u32) -> Self {
        self.cache_mib = mib;
        self
    }

    /// How long after the first transaction of a group has finished another that is waiting may still join, before all are
    /// committed together. Nothing waits for a group to fill, and there are no groups while transactions take longer than this
    /// on average. 5 ms.
    #[must_use]
    pub fn group_window(mut self, window: Duration) -> Self {
        self.group_window = window;
        self
    }

    /// Connections for reading; at least 1. 4.
    #[must_use]
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }
}

/// `sqlite://PATH`, `sqlite:PATH` or `sqlite::memory:`. The path is taken as it is written.
impl FromStr for SqliteOptions {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| refused("does not begin with `sqlite:`"))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        match parameters {
            // What others need to be told, and we do anyway.
            "" | "mode=rwc" => {}
            _ => return Err(refused("has parameters; set `SqliteOptions` in the program instead")),
        }
        match path {
            "" => Err(refused("names no file")),
            ":memory:" => Ok(Self::private()),
            path => Ok(Self::file(path)),
        }
    }
}

fn refused(what: &str) -> StoreError {
    StoreError::Refused(format!("the database URL {what}; write sqlite://PATH or sqlite::memory:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_places() {
        for (url, place) in [
            ("sqlite://data/a.db", Place::File("data/a.db".into())),
            ("sqlite:data/a.db", Place::File("data/a.db".into())),
            ("sqlite:///var/a.db", Place::File("/var/a.db".into())),
            ("sqlite:///var/a.db?mode=rwc", Place::File("/var/a.db".into())),
            ("sqlite::memory:", Place::Private),
            ("sqlite://:memory:", Place::Private),
        ] {
            assert_eq!(url.parse::<SqliteOptions>().expect(url).place, place, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, what) in [
            ("postgres://a", "does not begin with `sqlite:`"),
            ("sqlite://", "names no file"),
            ("sqlite://a.db?cache=shared", "has parameters"),
        ] {
            let error = url.parse::<SqliteOptions>().expect_err(url).to_string();
            assert!(error.contains(what), "{url}: {error}");
        }
    }
}
