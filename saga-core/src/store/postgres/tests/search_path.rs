//! A schema with the name of the user, which the sessions of an existing program find before `public`.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, postgres::PgPoolOptions};

use super::{PostgresOptions, PostgresStore, url};
use crate::store::{Store, StoreError};

/// A database of a test's own, in which the user of the tests has `public` for its tables, as in any new database.
struct Own {
    name: String,
    user: String,
    server: PgConnection,
}

impl Own {
    async fn new(name: &str) -> Self {
        let mut server = PgConnection::connect(&url()).await.expect("a PostgreSQL server: scripts/postgres start");
        let name = format!("test_{name}_{}", std::process::id());
        server.execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))).await.unwrap();
        let user = sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut server).await.unwrap();
        Self { name, user, server }
    }

    fn options(&self) -> PostgresOptions {
        let mut options: PostgresOptions = url().parse().unwrap();
        options.connect = options.connect.database(&self.name);
        options
    }

    /// A pool as an existing program has it, each of whose sessions begins with `first`.
    async fn pool(&self, first: &'static str) -> PgPool {
        let options = PgPoolOptions::new().max_connections(1).after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(sqlx::raw_sql(first)).await.map(drop) })
        });
        options.connect_with(self.options().connect).await.unwrap()
    }

    async fn drop(mut self) {
        self.server.execute(sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name)))).await.unwrap();
    }
}

async fn schemas(pool: &PgPool) -> i64 {
    let sql = "SELECT count(*) FROM pg_namespace WHERE nspname = current_user";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_schema_that_would_hide_the_tables_of_a_pool_is_refused() {
    let own = Own::new("hidden").await;
    let pool = own.pool("SELECT 1").await;
    let from_pool = |schema: &str| PostgresOptions::from_pool(&pool).schema(schema).unwrap();
    let error = PostgresStore::open(from_pool(&own.user)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused(_)), "{error:?}");
    for part in [
        "the schema has the name of the user",
        "`\"$user\", public`",
        "before `public`",
        "give `PostgresOptions::schema` another name",
        &format!("ALTER ROLE \"{0}\" SET search_path = \"{0}\", \"public\"", own.user),
    ] {
        assert!(error.to_string().contains(part), "{part:?} is missing: {error}");
    }
    assert_eq!(schemas(&pool).await, 0, "it is not made");

    // Under another name, the program's next `CREATE TABLE IF NOT EXISTS` finds its table.
    let orders = "CREATE TABLE IF NOT EXISTS orders (id INT)";
    pool.execute(orders).await.unwrap();
    pool.execute("INSERT INTO orders (id) VALUES (1)").await.unwrap();
    let store = PostgresStore::open(from_pool("events")).await.unwrap();
    store.migrate().await.unwrap();
    pool.execute(orders).await.unwrap();
    let found: Vec<i32> = sqlx::query_scalar("SELECT id FROM orders").fetch_all(&pool).await.unwrap();
    assert_eq!(found, [1]);
    store.close().await;
    pool.close().await;
    own.drop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_path_that_was_chosen_stays_a_choice() {
    let own = Own::new("chosen").await;
    for path in ["SELECT set_config('search_path', quote_ident(current_user) || ', public', false)", "SET search_path TO public"]
    {
        let pool = own.pool(path).await;
        let store = PostgresStore::open(PostgresOptions::from_pool(&pool).schema(&own.user).unwrap()).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
        pool.close().await;
    }
    own.drop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_pool_without_a_free_connection_is_named_and_a_closed_one_has_no_sessions() {
    let own = Own::new("busy").await;
    let pool = own.pool("SELECT 1").await;
    let options = PostgresOptions::from_pool(&pool).schema(&own.user).unwrap();
    let held = pool.acquire().await.unwrap();
    let error = PostgresStore::open(options.clone()).await.unwrap_err();
    assert!(error.to_string().contains("given to `PostgresOptions::from_pool` had no free connection"), "{error}");
    drop(held);
    pool.close().await;
    PostgresStore::open(options).await.unwrap().close().await;
    own.drop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn other_sessions_of_the_user_are_warned_of_where_they_have_tables() {
    let own = Own::new("warned").await;
    let (options, pool) = (own.options().schema(&own.user).unwrap(), own.pool("SELECT 1").await);
    let store = PostgresStore::open(options).await.unwrap();
    assert_eq!(store.warning().await.unwrap(), None, "no table is hidden");
    pool.execute("CREATE TABLE public.orders (id INT)").await.unwrap();
    let warning = store.warning().await.unwrap().expect("a warning");
    assert!(warning.contains("look in it before `public`, where public.orders is"), "{warning}");
    store.close().await;
    let other = PostgresStore::open(own.options().schema("events").unwrap()).await.unwrap();
    assert_eq!(other.warning().await.unwrap(), None);
    other.close().await;
    pool.close().await;
    own.drop().await;
}
