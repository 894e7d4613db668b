//! Which migrations of a set still have to run: the part that all stores share.

#[cfg(feature = "sql")]
use std::fmt::Write;

#[cfg(feature = "sql")]
use serde::{Deserialize, Serialize};

use super::{Migration, StoreError};

/// What a service does with migrations that have not run, both the framework's and its own.
#[cfg(feature = "sql")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Migrate {
    /// The service runs them when it starts. The database user needs the right to create tables if there are migrations to run.
    #[default]
    Apply,
    /// The service does not start, and returns an error that names them. Nothing is created: no schema, no file and no table. Run them with
    /// `sagas migrations apply`, or with another tool and the output of `sagas migrations print`.
    Check,
}

#[cfg(feature = "sql")]
impl Migrate {
    /// Parses the value of a URL parameter.
    pub(crate) fn of(text: &str) -> Option<Self> {
        match text {
            "apply" => Some(Self::Apply),
            "check" => Some(Self::Check),
            _ => None,
        }
    }
}

/// A migration that has run: its version and its script.
pub(crate) type Applied = (u32, String);

/// Returns the migrations that are not in `applied`, which is in order.
///
/// # Errors
/// When the set is not numbered 1, 2, 3 .., or when a migration that has run was changed or is unknown to this program.
pub(crate) fn pending<'a>(set: &str, migrations: &'a [Migration], applied: &[Applied]) -> Result<&'a [Migration], StoreError> {
    for (expected, migration) in (1..).zip(migrations) {
        if migration.version != expected {
            return Err(StoreError::Refused(format!(
                "migration `{}` of set `{set}` has version {} where {expected} is due; number them from 1 without gaps",
                migration.name, migration.version
            )));
        }
    }
    for (index, (version, script)) in applied.iter().enumerate() {
        let Some(migration) = migrations.get(index).filter(|migration| migration.version == *version) else {
            return Err(StoreError::Incompatible(format!(
                "migration {version} of set `{set}` has run, and this program does not have it; a newer program wrote the \
                 database: run that one"
            )));
        };
        if fingerprint(migration.sql) != fingerprint(script) {
            return Err(StoreError::Incompatible(format!(
                "migration {version} (`{}`) of set `{set}` was changed after it had run; restore its text and put the change \
                 into a migration of its own",
                migration.name
            )));
        }
    }
    Ok(migrations.get(applied.len()..).unwrap_or_default())
}

/// Checks that no migration has to run, in a database that is used and not changed. `ours` is how to run the framework's own migrations
/// without the service ([`how`]), and `None` for a service's set.
///
/// # Errors
/// When migrations have to run, with their names and how to run them.
#[cfg(feature = "sql")]
pub(crate) fn nothing_pending(
    ours: Option<&str>,
    set: &str,
    migrations: &[Migration],
    applied: &[Applied],
) -> Result<(), StoreError> {
    let pending = pending(set, migrations, applied)?;
    if pending.is_empty() {
        return Ok(());
    }
    let help = ours.unwrap_or("start the service once with `migrate=apply` and a user who may make tables");
    Err(StoreError::Incompatible(format!("{} not run, and is not run here (`migrate=check`); {help}", named(set, pending))))
}

/// How to run the framework's migrations without the service: the commands, with `url`, and with `kind` as the options of `print`.
#[cfg(feature = "sql")]
pub(crate) fn how(url: &str, kind: &str) -> String {
    format!(
        "run `sagas migrations apply --database {url}` with a user who may make tables, or have a tool of your own run what \
         `sagas migrations print {kind}` prints"
    )
}

/// Names migrations at the beginning of a sentence.
#[cfg(feature = "sql")]
fn named(set: &str, migrations: &[Migration]) -> String {
    let names: Vec<_> = migrations.iter().map(|migration| format!("{} (`{}`)", migration.version, migration.name)).collect();
    match &names[..] {
        [one] => format!("migration {one} of set `{set}` has"),
        _ => format!("each of the migrations {} of set `{set}` has", names.join(", ")),
    }
}

/// Returns one script that runs the migrations after the version `after` and records that they have run, for another migration tool.
/// `table` creates the table of these records, and `quoted` quotes a literal.
#[cfg(feature = "sql")]
pub(crate) fn script(set: &str, table: &str, migrations: &[Migration], after: u32, quoted: fn(&str) -> String) -> String {
    let (version, mut script) = (env!("CARGO_PKG_VERSION"), String::new());
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        script,
        "-- The tables of sagas {version}. Run once, in one transaction, and not changed: starting services compare it."
    );
    if after == 0 {
        let _ = writeln!(script, "\n{table};");
    }
    for migration in migrations.iter().filter(|migration| migration.version > after) {
        let (number, name, sql) = (migration.version, migration.name, fingerprint(migration.sql));
        let _ = writeln!(script, "\n-- Migration {number}: {name}\n{}", sql.trim_end());
        let _ = writeln!(
            script,
            "INSERT INTO sagas_migrations (name_of_set, version, name, script) VALUES ({}, {number}, {}, {});",
            quoted(set),
            quoted(name),
            quoted(&sql)
        );
    }
    script
}

/// Checks that the database has the framework's tables in the version of this program, for a database that is only read.
///
/// # Errors
/// When the database has no tables of the framework, or those of another version.
#[cfg(feature = "sql")]
pub(crate) fn complete(set: &str, migrations: &[Migration], applied: &[Applied]) -> Result<(), StoreError> {
    if applied.is_empty() {
        return Err(StoreError::NotMigrated(
            "it has none of the framework's tables; name the database of a service, which creates them when it starts, or create them with \
             `sagas migrations apply`".into(),
        ));
    }
    match pending(set, migrations, applied)?.first() {
        None => Ok(()),
        Some(next) => Err(StoreError::Incompatible(format!(
            "migration {} (`{}`) of set `{set}` has not run: an older program wrote the database; start its service once with the \
             program of this version, or read it with that of the older one",
            next.version, next.name
        ))),
    }
}

/// Returns the text by which a script is compared: the script with normalized line ends.
pub(crate) fn fingerprint(sql: &str) -> String {
    sql.replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migration = Migration { version: 1, name: "one", sql: "CREATE TABLE a (b);\n" };
    const TWO: Migration = Migration { version: 2, name: "two", sql: "CREATE TABLE c (d);" };

    fn ran(migration: Migration) -> Applied {
        (migration.version, fingerprint(migration.sql))
    }

    #[test]
    fn only_what_has_not_run_is_pending() {
        assert_eq!(pending("s", &[ONE, TWO], &[]).expect("fits"), [ONE, TWO]);
        assert_eq!(pending("s", &[ONE, TWO], &[ran(ONE)]).expect("fits"), [TWO]);
        assert_eq!(pending("s", &[ONE, TWO], &[ran(ONE), ran(TWO)]).expect("fits"), []);
    }

    #[test]
    fn line_ends_are_no_change() {
        let windows = Migration { sql: "CREATE TABLE a (b);\r\n", ..ONE };
        assert_eq!(pending("s", &[windows], &[ran(ONE)]).expect("fits"), []);
        assert_eq!(pending("s", &[ONE], &[(1, windows.sql.to_owned())]).expect("fits"), [], "as an editor may have saved it");
    }

    #[test]
    fn a_change_is_named() {
        let changed = Migration { sql: "CREATE TABLE a (b, c);", ..ONE };
        let error = pending("s", &[changed], &[ran(ONE)]).expect_err("changed").to_string();
        assert!(error.contains("migration 1 (`one`) of set `s` was changed"), "{error}");
    }

    #[test]
    fn a_newer_database_is_named() {
        let error = pending("s", &[ONE], &[ran(ONE), ran(TWO)]).expect_err("newer").to_string();
        assert!(error.contains("migration 2 of set `s` has run, and this program does not have it"), "{error}");
    }

    #[cfg(feature = "sql")]
    #[test]
    fn what_is_only_read_has_to_be_complete() {
        let refusal = |applied: &[Applied]| complete("s", &[ONE, TWO], applied).expect_err("refused");
        assert!(matches!(refusal(&[]), StoreError::NotMigrated(_)));
        let older = refusal(&[ran(ONE)]).to_string();
        assert!(older.contains("migration 2 (`two`) of set `s` has not run: an older program"), "{older}");
        let newer = refusal(&[ran(ONE), ran(TWO), (3, String::new())]).to_string();
        assert!(newer.contains("migration 3 of set `s` has run, and this program does not have it"), "{newer}");
        complete("s", &[ONE, TWO], &[ran(ONE), ran(TWO)]).expect("complete");
    }

    #[cfg(feature = "sql")]
    #[test]
    fn what_is_pending_is_named_with_how_it_is_run() {
        let how = how("URL", "--sqlite");
        nothing_pending(Some(&how), "sagas", &[ONE], &[ran(ONE)]).expect("all have run");
        let error = nothing_pending(Some(&how), "sagas", &[ONE, TWO], &[ran(ONE)]).expect_err("pending").to_string();
        for part in
            ["migration 2 (`two`) of set `sagas` has not run", "apply --database URL`", "`sagas migrations print --sqlite`"]
        {
            assert!(error.contains(part), "{part:?} is missing: {error}");
        }
        let error = nothing_pending(None, "shop", &[ONE, TWO], &[]).expect_err("pending").to_string();
        assert!(error.contains("each of the migrations 1 (`one`), 2 (`two`) of set `shop` has not run"), "{error}");
        assert!(!error.contains("sagas migrations"), "the program does not know them: {error}");
    }

    #[test]
    fn a_gap_is_named() {
        let error = pending("s", &[TWO], &[]).expect_err("gap").to_string();
        assert!(error.contains("has version 2 where 1 is due"), "{error}");
    }
}
