//! Which schema the other sessions of the service's user find first.
//!
//! The `search_path` of a session is `"$user", public` unless it was set: a schema with the name of the user comes before `public`, as soon
//! as it exists. If the framework's schema has that name, the unqualified statements of an existing program find the framework's schema
//! first. Its `CREATE TABLE` and its migration tool create tables there, and these hide the tables of the same name in `public`.

use std::time::Duration;

use sqlx::{PgConnection, PgPool, Row};
use tokio::time::timeout;

use super::{
    super::{StoreError, sql_errors::store_error},
    connect::Connector,
    statements::Failed,
    text::quoted,
};

/// The user, and the `search_path` of this session.
const OF_THE_SESSION: &str = "SELECT current_user::text, current_setting('search_path')";

/// The user, and the `search_path` of a session of this user that does not set it.
const OF_THE_USER: &str =
    "SELECT current_user::text, COALESCE(reset_val, '') FROM pg_catalog.pg_settings WHERE name = 'search_path'";

/// A table that the user can read in one of these schemas, and that belongs to no extension.
const TABLE: &str = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1 LIMIT 1";

/// Checks that the sessions of `pool`, which a program has for its own tables, do not search the framework's schema first.
///
/// # Errors
/// When they do, because the schema has the name of their user, and when the pool gives no connection for the check.
pub(super) async fn verify(connector: &Connector, pool: &PgPool) -> Result<(), StoreError> {
    let (name, schema) = (&connector.name, &connector.options.schema);
    let wait = connector.options.begin_timeout;
    let mut connection = match timeout(wait, pool.acquire()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
        Ok(connection) => connection,
        // Its sessions have ended.
        Err(sqlx::Error::PoolClosed) => return Ok(()),
        Err(sqlx::Error::PoolTimedOut) => return Err(no_connection(name, wait)),
        Err(error) => return Err(store_error(name, &error)),
    };
    let asked = timeout(connector.options.answer_timeout, ask(&mut connection, OF_THE_SESSION)).await;
    let (user, path) = asked.map_err(|_| connector.no_answer())?.map_err(|error| error.at(name))?;
    match hidden(&path, &user, schema) {
        behind if behind.is_empty() => Ok(()),
        behind => {
            let path_with_it: Vec<_> = [schema].into_iter().chain(&behind).map(|entry| quoted(entry)).collect();
            let (behind, user, path_with_it) = (listed(&behind), quoted(&user), path_with_it.join(", "));
            Err(StoreError::Refused(format!(
                "{name}: the schema has the name of the user, and the search_path of the pool's sessions is `{path}`: as soon as the schema \
                 exists, these sessions look in it before {behind}, create their tables in it, and find no table in {behind} for which it \
                 has one of the same name; give `PostgresOptions::schema` another name, or, if the tables of the pool are to be in this \
                 schema, name it in their search_path, by `ALTER ROLE {user} SET search_path = {path_with_it}`"
            )))
        }
    }
}

fn no_connection(name: &str, wait: Duration) -> StoreError {
    StoreError::Unavailable(format!(
        "{name}: the pool given to `PostgresOptions::from_pool` had no free connection within {} ms, and its search_path has to be read; \
         open the database before the pool is in use, or raise the pool's `max_connections`",
        wait.as_millis()
    ))
}

/// A warning for other programs of the same user, if their sessions do not set a `search_path` and there are tables to hide. It is no reason
/// to refuse the schema: often a user has one program, whose tables are all in its own schema.
pub(super) async fn warning(connection: &mut PgConnection, schema: &str) -> Result<Option<String>, Failed> {
    let (user, path) = ask(connection, OF_THE_USER).await?;
    let behind = hidden(&path, &user, schema);
    if behind.is_empty() {
        return Ok(None);
    }
    let table: Option<String> = sqlx::query_scalar(TABLE).bind(&behind).fetch_optional(connection).await?;
    Ok(table.map(|table| {
        format!(
            "the schema has the name of the user, whose search_path is `{path}`: other sessions of this user look in it before {}, where \
             {table} is, and create their tables in it; give the service another schema, or set the search_path of the user",
            listed(&behind)
        )
    }))
}

async fn ask(connection: &mut PgConnection, sql: &'static str) -> Result<(String, String), Failed> {
    let row = sqlx::query(sql).fetch_one(connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// The schemas behind `"$user"` in `path`, if `"$user"` means `schema`. Empty if the path also names `schema`: then that order was chosen.
fn hidden(path: &str, user: &str, schema: &str) -> Vec<String> {
    let entries = entries(path);
    if user != schema || entries.iter().any(|entry| entry == schema) {
        return Vec::new();
    }
    // The schemas of the server itself have no tables of a program.
    let behind = entries.into_iter().skip_while(|entry| entry != "$user").skip(1);
    behind.filter(|entry| entry != "$user" && !entry.starts_with("pg_")).collect()
}

/// The entries of a `search_path`, split as the server does it.
fn entries(path: &str) -> Vec<String> {
    let (mut entries, mut entry, mut in_quotes) = (Vec::new(), String::new(), false);
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if in_quotes && characters.next_if_eq(&'"').is_some() => entry.push('"'),
            '"' => in_quotes = !in_quotes,
            character if in_quotes => entry.push(character),
            ',' => entries.push(std::mem::take(&mut entry)),
            character if character.is_whitespace() => {}
            character => entry.push(character.to_ascii_lowercase()),
        }
    }
    entries.push(entry);
    entries.retain(|entry| !entry.is_empty());
    entries
}

fn listed(schemas: &[String]) -> String {
    schemas.iter().map(|schema| format!("`{schema}`")).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_as_the_server_does_it() {
        for (path, expected) in [
            ("\"$user\", public", &["$user", "public"][..]),
            ("$user,PUBLIC", &["$user", "public"]),
            ("App , \"App\"", &["app", "App"]),
            ("\"a, \"\"b\"\"\", c", &["a, \"b\"", "c"]),
            ("\"\"", &[]),
            ("", &[]),
        ] {
            assert_eq!(entries(path), expected, "{path}");
        }
    }

    #[test]
    fn only_a_path_that_means_the_schema_without_naming_it_hides_the_schemas_behind() {
        for (path, user, expected) in [
            ("\"$user\", public", "shop", &["public"][..]),
            ("\"$user\", app, public, pg_catalog", "shop", &["app", "public"]),
            ("app, \"$user\", public", "shop", &["public"]),
            ("\"$user\", public", "other", &[]),
            ("\"$user\", public", "Shop", &[]),
            ("public, \"$user\"", "shop", &[]),
            ("\"$user\"", "shop", &[]),
            ("shop, public", "shop", &[]),
            ("\"$user\", shop, public", "shop", &[]),
            ("app, public", "shop", &[]),
            ("", "shop", &[]),
        ] {
            assert_eq!(hidden(path, user, "shop"), expected, "{path} of {user}");
        }
    }
}
