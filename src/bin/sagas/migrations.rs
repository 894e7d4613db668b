//! `sagas migrations`: prints the SQL of the framework's tables, creates the tables, or compares them.

use sagas::{
    Database,
    store::{DatabaseOptions, Migrate, postgres::PostgresStore, sqlite::SqliteStore},
};
use serde::Serialize;

use super::{
    args::{MigrationsCommand, PrintMigrations},
    error::CliError,
    output::Output,
    places::Place,
};

/// The result for a database.
#[derive(Serialize)]
struct Tables {
    database: String,
    /// The version of the program, to which the tables belong.
    sagas: &'static str,
}

/// Prints, creates or compares the tables.
///
/// # Errors
/// If the database cannot be used, or its tables are not those of this program.
pub(crate) async fn migrations(place: &Place, what: MigrationsCommand, output: &Output) -> Result<bool, CliError> {
    let database = match what {
        MigrationsCommand::Print(wanted) => {
            output.text(&script(&wanted));
            return Ok(true);
        }
        MigrationsCommand::Apply => {
            let options = match url(place)?.parse().map_err(CliError::opening)? {
                DatabaseOptions::Postgres(options) => DatabaseOptions::Postgres(options.migrate(Migrate::Apply)),
                DatabaseOptions::Sqlite(options) => DatabaseOptions::Sqlite(options.migrate(Migrate::Apply)),
                options => options,
            };
            let database = Database::open_with(options).await?;
            database.store().migrate().await?;
            database
        }
        MigrationsCommand::Check => Database::read_only(url(place)?).await?,
    };
    let tables = Tables { database: database.store().place(), sagas: env!("CARGO_PKG_VERSION") };
    database.store().close().await;
    output.say(format_args!("{}: the tables are those of sagas {}.", tables.database, tables.sagas));
    output.give(&tables);
    Ok(true)
}

/// The URL of the database, which is required.
fn url(place: &Place) -> Result<&str, CliError> {
    let unnamed = || CliError::Usage("no database is named; write --database URL, or set SAGAS_DATABASE".to_owned());
    place.url().ok_or_else(unnamed)
}

fn script(wanted: &PrintMigrations) -> String {
    if wanted.sqlite {
        return SqliteStore::migrations_script(wanted.after);
    }
    let script = PostgresStore::migrations_script(wanted.after);
    match &wanted.schema {
        None => script,
        Some(schema) => in_schema(schema, &script),
    }
}

/// `script` in `schema`. A tool may have set a `search_path` for its own tables, and finds it as it was: in a transaction the path is changed
/// for that transaction, and put back at the end of the script for what follows in it. Where each statement is a transaction of its own, the
/// first one leaves nothing behind, and the path is changed for the session until it is put back.
fn in_schema(schema: &str, script: &str) -> String {
    // An identifier, in a literal.
    let schema = format!("\"{}\"", schema.replace('"', "\"\""));
    let path = schema.replace('\'', "''");
    let is_local = "current_setting('sagas.in_transaction', true) = 'yes'";
    format!(
        "CREATE SCHEMA IF NOT EXISTS {schema};\n\
         -- The search_path of the session is put back at the end.\n\
         SELECT set_config('sagas.in_transaction', 'yes', true);\n\
         SELECT set_config('sagas.search_path', current_setting('search_path'), {is_local});\n\
         SELECT set_config('search_path', '{path}', {is_local});\n\n\
         {script}\n\
         SELECT set_config('search_path', current_setting('sagas.search_path'), {is_local});\n"
    )
}
