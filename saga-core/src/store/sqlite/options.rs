//! The location and the settings of a SQLite database.

use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx_core::percent_encoding::percent_decode_str;

use super::super::{Migrate, StoreError};

/// The location and the settings of a SQLite database.
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
    pub(super) access: Access,
    pub(super) begin_timeout: Duration,
    pub(super) cache_mib: u32,
    pub(super) readers: u32,
    pub(super) group_window: Duration,
    pub(super) log_mib: u32,
    pub(super) migrate: Migrate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    /// A file that only this store uses and that is removed with it.
    Private,
}

/// Whether the file is created and whether it is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// The file is created if it does not exist.
    Create,
    /// The file must exist.
    Existing,
    /// The file must exist, and it is not changed.
    Read,
}

impl SqliteOptions {
    /// The database in the file `path`. The file and its parent folders are created if they do not exist.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::File(path.into()),
            access: Access::Create,
            begin_timeout: Duration::from_secs(5),
            cache_mib: 8,
            readers: 4,
            group_window: Duration::from_millis(5),
            log_mib: 64,
            migrate: Migrate::Apply,
        }
    }

    /// A database that only this store uses and that is removed with it. It is a file in the system's folder for temporary files and
    /// behaves like any other SQLite file. SQLite's own in-memory database is not used, because it cannot be read while a transaction
    /// writes.
    pub fn private() -> Self {
        Self { place: Place::Private, ..Self::file("") }
    }

    /// How long the store waits to begin a transaction, or for a connection for reading. Default: 5 s.
    #[must_use]
    pub fn begin_timeout(mut self, timeout: Duration) -> Self {
        self.begin_timeout = timeout;
        self
    }

    /// The page cache of each connection, in MiB. Default: 8.
    #[must_use]
    pub fn cache_mib(mut self, mib: u32) -> Self {
        self.cache_mib = mib;
        self
    }

    /// How long, after the first transaction of a group has finished, a waiting transaction can still join the group. All transactions of a
    /// group commit together. A group does not wait for transactions to arrive, and groups are not used while transactions take longer than
    /// this on average. Default: 5 ms.
    #[must_use]
    pub fn group_window(mut self, window: Duration) -> Self {
        self.group_window = window;
        self
    }

    /// The size of SQLite's write-ahead log (the file with the suffix `-wal`), in MiB, beyond which the writer now and then waits for a
    /// moment until no reader uses the log, so that it can be truncated. Minimum: 1. Default: 64.
    #[must_use]
    pub fn log_mib(mut self, mib: u32) -> Self {
        self.log_mib = mib.max(1);
        self
    }

    /// What to do with migrations that have not run. With [`Migrate::Check`] the file must exist. Default: [`Migrate::Apply`].
    #[must_use]
    pub fn migrate(mut self, migrate: Migrate) -> Self {
        self.migrate = migrate;
        if migrate == Migrate::Check && self.access == Access::Create {
            self.access = Access::Existing;
        }
        self
    }

    /// The number of connections for reading. Minimum: 1. Default: 4.
    #[must_use]
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }
}

/// Parses `sqlite://PATH`, `sqlite:PATH` or `sqlite::memory:`. The path is percent-decoded, as in every URL: write `%25` for `%` and `%3F`
/// for `?`. The parameter `mode` is SQLite's: `rwc`, the default, creates the file if it does not exist; `rw` does not; `ro` is for reading
/// only; `memory` is the same as `:memory:`. The parameter `migrate` is `apply` or `check`, see [`SqliteOptions::migrate`].
impl FromStr for SqliteOptions {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| refused("does not begin with `sqlite:`"))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let escaped =
            |at: usize| path.get(at + 1..at + 3).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        if path.match_indices('%').any(|(at, _)| !escaped(at)) {
            return Err(refused(
                "has a `%` without two hexadecimal digits behind it; write % as %25, or name the file by `SqliteOptions::file`",
            ));
        }
        let path = percent_decode_str(path).decode_utf8().map_err(|_| refused("has a path that is not UTF-8"))?;
        let mut options = match &*path {
            "" => return Err(refused("names no file")),
            ":memory:" => Self::private(),
            path if path.contains('\0') => return Err(refused("has a zero byte in its path")),
            path => Self::file(path),
        };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=').unwrap_or((parameter, "")) {
                ("mode", "rwc") => options.access = Access::Create,
                ("mode", "rw") => options.access = Access::Existing,
                ("mode", "ro") => options.access = Access::Read,
                ("mode", "memory") => options.place = Place::Private,
                ("mode", _) => return Err(refused("has a `mode` that is none of rwc, rw, ro, memory")),
                ("cache", "private") => {}
                ("migrate", migrate) => {
                    let migrate =
                        Migrate::of(migrate).ok_or_else(|| refused("has a `migrate` that is neither `apply` nor `check`"))?;
                    options = options.migrate(migrate);
                }
                (name, _) => {
                    return Err(refused(&format!(
                        "has the parameter `{}`, which is not known; the known ones are mode and migrate, and `SqliteOptions` sets the rest in the program",
                        name.escape_debug()
                    )));
                }
            }
        }
        Ok(options)
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
            ("sqlite:///var/a.db?mode=rwc&cache=private", Place::File("/var/a.db".into())),
            ("sqlite:///my data/a+b.db", Place::File("/my data/a+b.db".into())),
            ("sqlite:///my%20data/100%25%3F.db", Place::File("/my data/100%?.db".into())),
            ("sqlite::memory:", Place::Private),
            ("sqlite://:memory:", Place::Private),
            ("sqlite://a.db?mode=memory", Place::Private),
        ] {
            assert_eq!(url.parse::<SqliteOptions>().expect(url).place, place, "{url}");
        }
        for (url, access) in
            [("sqlite:a", Access::Create), ("sqlite:a?mode=rw", Access::Existing), ("sqlite:a?mode=ro", Access::Read)]
        {
            assert_eq!(url.parse::<SqliteOptions>().expect(url).access, access, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, what) in [
            ("postgres://a", "does not begin with `sqlite:`"),
            ("sqlite://", "names no file"),
            ("sqlite://a.db?cache=shared", "the parameter `cache`, which is not known; the known ones are mode and migrate"),
            ("sqlite://a.db?mode=wr", "`mode` that is none of rwc, rw, ro, memory"),
            ("sqlite://100%.db", "write % as %25"),
            ("sqlite://a%ff.db", "not UTF-8"),
            ("sqlite://a%00.db", "zero byte"),
        ] {
            let error = url.parse::<SqliteOptions>().expect_err(url).to_string();
            assert!(error.contains(what), "{url}: {error}");
        }
    }
}
