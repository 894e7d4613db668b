//! Which migrations of a set still have to run: the part that is the same for every store.

use super::{Migration, StoreError};

/// A migration that has run: its version and its script.
pub(crate) type Applied = (u32, String);

/// Those of `migrations` that are not in `applied`, which is in order.
///
/// # Errors
/// When the set is not numbered 1, 2, 3, when one that has run was changed or is gone.
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
                "migration {version} of set `{set}` has run, and this program does not know it; a newer program wrote the \
                 database: run that one"
            )));
        };
        if fingerprint(migration.sql) != *script {
            return Err(StoreError::Incompatible(format!(
                "migration {version} (`{}`) of set `{set}` was changed after it had run; restore its text and put the change \
                 into a migration of its own",
                migration.name
            )));
        }
    }
    Ok(migrations.get(applied.len()..).unwrap_or_default())
}

/// That the framework's tables are there and those of this program, in a database that is only read.
///
/// # Errors
/// When there are none, or another program's.
#[cfg(feature = "sql")]
pub(crate) fn complete(set: &str, migrations: &[Migration], applied: &[Applied]) -> Result<(), StoreError> {
    if applied.is_empty() {
        return Err(StoreError::NotMigrated(
            "it has none of the framework's tables; name the database of a service, which makes them when it starts".into(),
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

/// What a script is recognised by: its text, whatever its line ends.
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
        assert!(error.contains("migration 2 of set `s` has run, and this program does not know it"), "{error}");
    }

    #[cfg(feature = "sql")]
    #[test]
    fn what_is_only_read_has_to_be_complete() {
        let refusal = |applied: &[Applied]| complete("s", &[ONE, TWO], applied).expect_err("refused");
        assert!(matches!(refusal(&[]), StoreError::NotMigrated(_)));
        let older = refusal(&[ran(ONE)]).to_string();
        assert!(older.contains("migration 2 (`two`) of set `s` has not run: an older program"), "{older}");
        let newer = refusal(&[ran(ONE), ran(TWO), (3, String::new())]).to_string();
        assert!(newer.contains("migration 3 of set `s` has run, and this program does not know it"), "{newer}");
        complete("s", &[ONE, TWO], &[ran(ONE), ran(TWO)]).expect("complete");
    }

    #[test]
    fn a_gap_is_named() {
        let error = pending("s", &[TWO], &[]).expect_err("gap").to_string();
        assert!(error.contains("has version 2 where 1 is due"), "{error}");
    }
}
