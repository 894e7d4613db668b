//! Whether a database meets the requirements: checked when it is opened, and then every few seconds.
//!
//! A session changes the settings that it can change itself (see `session`): isolation, and `synchronous_commit`. This module reports all
//! other problems together, each with its remedy.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor, PgConnection, Row, postgres::PgRow};
use tokio::time::timeout;

use super::{
    super::{Advice, Migrate, StoreError},
    connect::{Attempts, Connector},
    errors::{READ_ONLY, code},
    migrate::by_others,
    statements::Failed,
    text::quoted,
    unit::Unit,
};

/// How many times the server process of each of the two connections is queried.
const PROBES: usize = 3;
/// How long that can take while a service runs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The framework's tables on which the user lacks a right, or whose rows a policy hides. The name is NULL if the user lacks the right to
/// use the schema.
const LACKING: &str =
    "SELECT NULL::text, false FROM pg_catalog.pg_namespace WHERE nspname = $1 AND NOT has_schema_privilege(oid, 'USAGE')
    UNION ALL SELECT relname::text, row_security_active(oid) FROM pg_catalog.pg_class
    WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1) AND relkind IN ('r', 'p')
      AND relname LIKE 'sagas\\_%'
      AND (row_security_active(oid) OR NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
           AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')))
    ORDER BY 1";

/// The server and the schema, as a service's transactions see them.
const LOOK: &str = "SELECT current_setting('server_encoding'), current_setting('transaction_read_only')::boolean,
      current_setting('session_replication_role'), n.oid IS NOT NULL,
      has_database_privilege(current_database(), 'CREATE'),
      COALESCE(has_schema_privilege(n.oid, 'USAGE'), false), COALESCE(has_schema_privilege(n.oid, 'CREATE'), false),
      EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = n.oid AND relname = 'sagas_migrations'),
      current_user::text
    FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = $1";

/// The settings that make commits less durable, and the limits of connections.
const SETTINGS: &str = "SELECT current_setting('fsync'), current_setting('full_page_writes'),
      COALESCE((SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'synchronous_commit'), 'on'),
      COALESCE((SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = session_user AND NOT rolsuper), -1),
      (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = current_database()),
      current_setting('max_connections')::integer";

/// Checks that the database can be used for writing. Changes nothing.
///
/// # Errors
/// All reasons why it cannot.
pub(super) async fn verify(connector: &std::sync::Arc<Connector>) -> Result<(), StoreError> {
    // This check must come first: behind an unsuitable pooler, other statements fail with misleading errors.
    if is_shared(connector, connector.transacting()).await? {
        return Err(StoreError::Refused(format!("{}: {POOLED}", connector.name)));
    }
    let (schema, migrate) = (&connector.options.schema, connector.options.migrate);
    let mut unit = Unit::look(connector).await?;
    let problems = unit.run(async |connection| problems(connection, schema, migrate).await).await?;
    match problems.is_empty() {
        true => Ok(()),
        false => Err(StoreError::Refused(format!("{}: {}", connector.name, problems.join("; ")))),
    }
}

const POOLED: &str = "a pooler between here and the server (PgBouncer with `pool_mode` transaction or statement, for one) gives the \
                      sessions of a service to others between their transactions, so that settings, prepared statements, locks and \
                      LISTEN are lost; set `pool_mode = session` for this database, or name PostgreSQL itself";

/// Whether two connections that are open at the same time have the same server process, or one connection has several.
async fn is_shared(connector: &Connector, one: Attempts<'_>) -> Result<bool, StoreError> {
    let (mut one, mut other) = (one.connection().await?, connector.reading().connection().await?);
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for _ in 0..PROBES {
        for (held, pids) in [(&mut one, &mut ones), (&mut other, &mut others)] {
            let asked =
                timeout(connector.options.answer_timeout, held.connection()?.fetch_one(sqlx::raw_sql("SELECT pg_backend_pid()")));
            let row = asked.await.map_err(|_| connector.no_answer())?.map_err(|error| connector.error(&error))?;
            pids.push(row.try_get_unchecked::<String, _>(0).map_err(|error| connector.error(&error))?);
        }
    }
    one.hand_back();
    other.hand_back();
    let several = |pids: &[String]| pids.iter().any(|pid| *pid != pids[0]);
    Ok(several(&ones) || several(&others) || ones.iter().any(|pid| others.contains(pid)))
}

/// Reports that a pooler has begun to share sessions.
pub(super) async fn pooled(connector: &Connector) -> Option<Advice> {
    // This does not use a connection for transactions, because all of them may be in use.
    let shared = timeout(PATIENCE, is_shared(connector, connector.sharing())).await;
    matches!(shared, Ok(Ok(true))).then(|| Advice {
        condition: "database_settings",
        subject: "pooler".to_owned(),
        critical: true,
        detail: format!("{}: {POOLED}", connector.name),
    })
}

async fn problems(connection: &mut PgConnection, schema: &str, migrate: Migrate) -> Result<Vec<String>, Failed> {
    let row = sqlx::query(LOOK).bind(schema).fetch_one(&mut *connection).await?;
    let (encoding, read_only, replication): (String, bool, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (is_there, may_make_it): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
    let (usage, create, migrated, user): (bool, bool, bool, String) =
        (row.try_get(5)?, row.try_get(6)?, row.try_get(7)?, row.try_get(8)?);
    let (how, schema, user) = (by_others(schema), quoted(schema), quoted(&user));
    let mut problems = Vec::new();
    if encoding != "UTF8" {
        problems.push(format!(
            "its encoding is {encoding}, in which not every text can be kept; create the database with \
             `ENCODING 'UTF8' TEMPLATE template0`"
        ));
    }
    if read_only {
        problems.push(READ_ONLY.to_owned());
    }
    if replication == "replica" {
        problems.push("`session_replication_role` is `replica`, which turns its constraints off; set it to `origin`".to_owned());
    }
    match (is_there, usage) {
        (false, _) if migrate == Migrate::Check => {
            problems.push(format!("the schema is missing, and is not made here (`migrate=check`); {how}"))
        }
        (false, _) if !may_make_it => problems.push(format!(
            "the schema is missing, and the user may not make it; have an owner run `CREATE SCHEMA {schema} AUTHORIZATION {user}`"
        )),
        (false, _) => {}
        (true, false) => {
            let rights = if migrate == Migrate::Check { "USAGE" } else { "USAGE, CREATE" };
            problems.push(format!("the user may not use the schema; `GRANT {rights} ON SCHEMA {schema} TO {user}`"))
        }
        (true, true) if !create && !migrated && migrate == Migrate::Apply => {
            problems.push(format!(
                "the user may not make tables in the schema; `GRANT CREATE ON SCHEMA {schema} TO {user}`, or {how}"
            ));
        }
        (true, true) => {}
    }
    Ok(problems)
}

/// Checks that the user has the right to read and write all of the framework's tables in `schema`.
pub(super) async fn rights(connection: &mut PgConnection, schema: &str) -> Result<(), Failed> {
    let rows = sqlx::query(LACKING).bind(schema).fetch_all(connection).await?;
    let (mut lacking, mut hidden, mut problems) = (Vec::<String>::new(), Vec::<String>::new(), Vec::new());
    for row in &rows {
        match (row.try_get(0)?, row.try_get(1)?) {
            (None, _) => {
                problems.push(format!("the user may not use the schema; `GRANT USAGE ON SCHEMA {} TO` it", quoted(schema)))
            }
            (Some(name), false) => lacking.push(name),
            (Some(name), true) => hidden.push(name),
        }
    }
    if !lacking.is_empty() {
        problems.push(format!(
            "the user lacks rights on {}; `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO` it, or make it the owner",
            lacking.join(", "),
            quoted(schema)
        ));
    }
    if !hidden.is_empty() {
        problems.push(format!(
            "row level security hides rows of {} from the user; make it their owner, or `ALTER ROLE .. BYPASSRLS`",
            hidden.join(", ")
        ));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(StoreError::Refused(problems.join("; ")).into()),
    }
}

/// Does the same as a transaction, on a connection for reading: begins, writes a row in the service's schema, and commits.
pub(super) async fn check(connection: &mut PgConnection, connector: &Connector) -> Result<(), Failed> {
    rights(connection, &connector.options.schema).await?;
    // The session's own read-only setting would hide that of the server. The pool restores it afterwards.
    connection.execute(sqlx::raw_sql("RESET default_transaction_read_only")).await?;
    let beat = format!(
        "{}; UPDATE sagas_health SET beats = beats + 1 WHERE id = 1; {}",
        connector.bounds.begin, connector.bounds.commit
    );
    match connection.execute(sqlx::raw_sql(AssertSqlSafe(beat))).await {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == Some("25006") => Err(StoreError::Unavailable(READ_ONLY.to_owned()).into()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the version of the server.
pub(super) async fn version(connection: &mut PgConnection) -> Result<String, Failed> {
    Ok(text(&sqlx::query("SELECT current_setting('server_version')").fetch_one(connection).await?, 0)?)
}

/// Returns problems of the server's settings.
pub(super) async fn advice(connection: &mut PgConnection, connector: &Connector) -> Result<Vec<Advice>, Failed> {
    let row = sqlx::query(SETTINGS).fetch_one(connection).await?;
    let advice = |subject: &str, detail: String| Advice {
        condition: "database_settings",
        subject: subject.to_owned(),
        critical: false,
        detail: format!("{}: {detail}", connector.name),
    };
    let mut all = Vec::new();
    for (at, setting) in [(0, "fsync"), (1, "full_page_writes")] {
        if text(&row, at)? != "on" {
            all.push(advice(
                setting,
                format!("`{setting}` is off: what was committed is lost, or damaged, when its machine fails; set it on in postgresql.conf"),
            ));
        }
    }
    if text(&row, 2)? == "off" {
        all.push(advice(
            "synchronous_commit",
            "`synchronous_commit` is off, by which a crash loses what was committed; the service's own sessions have it on, others do \
             not; set it on for the role, the database or the server"
                .to_owned(),
        ));
    }
    let needed = i64::from(connector.options.pool);
    for (at, subject, whose) in [
        (3, "role_connection_limit", "the user's CONNECTION LIMIT"),
        (4, "database_connection_limit", "the database's CONNECTION LIMIT"),
        (5, "max_connections", "`max_connections` of the server"),
    ] {
        let limit = i64::from(row.try_get::<i32, _>(at)?);
        if (0..needed).contains(&limit) {
            all.push(advice(
                subject,
                format!("{whose} is {limit}, and this instance may need {needed}; raise it, or lower `pool`"),
            ));
        }
    }
    Ok(all)
}

fn text(row: &PgRow, at: usize) -> Result<String, sqlx::Error> {
    row.try_get(at)
}
