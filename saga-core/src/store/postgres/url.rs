//! `postgres://user:password@host:port/database?schema=NAME&pool=N`.

use std::str::FromStr;

use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};
use sqlx_core::Url;

use super::{super::StoreError, options::PostgresOptions};

/// What sqlx makes of a parameter; all of libpq's that it knows.
const CONNECTING: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// `postgres://` or `postgresql://`, as libpq writes it, and two parameters of ours: `schema` and `pool`. What the URL does not
/// say is taken from `PGHOST` and its like, and a password from `.pgpass`.
impl FromStr for PostgresOptions {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        // None of these errors shows the URL: there may be a password in it.
        let url = Url::parse(url).map_err(|error| refused(&format!("is none: {error}")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(refused("does not begin with `postgres:`"));
        }
        let mut connecting = url.clone();
        connecting.set_query(None);
        let (mut schema, mut pool) = (None, None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "schema" => schema = Some(value.into_owned()),
                "pool" => match value.parse() {
                    Ok(connections) if connections >= 2 => pool = Some(connections),
                    _ => return Err(refused("has a `pool` that is no number of connections, from 2 on")),
                },
                name if CONNECTING.contains(&name) || name.starts_with("options[") => {
                    connecting.query_pairs_mut().append_pair(name, &value);
                }
                name => {
                    return Err(refused(&format!(
                        "has the parameter `{}`, which is not known; known are schema, pool, {}",
                        name.escape_debug(),
                        CONNECTING.join(", ")
                    )));
                }
            }
        }
        let connect = PgConnectOptions::from_url(&connecting)
            .map_err(|error| refused(&format!("cannot be used: {}", cause(&error))))?
            .disable_statement_logging();
        let may_be_plain = matches!(connect.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer);
        if !may_be_plain && !cfg!(feature = "tls") {
            return Err(refused("asks for TLS by its `sslmode`, and this build has none: build with the feature `tls`"));
        }
        let mut options = Self::new(connect);
        if let Some(schema) = schema {
            options = options.schema(schema)?;
        }
        Ok(match pool {
            Some(pool) => options.pool(pool),
            None => options,
        })
    }
}

/// Whether the URL says which schema is meant.
pub(in crate::store) fn names_a_schema(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.query_pairs().any(|(name, _)| name == "schema"))
}

fn cause(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

fn refused(what: &str) -> StoreError {
    StoreError::Refused(format!("the database URL {what}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_everything() {
        let url = "postgres://shop:secret@db:6543/goods?schema=inventory&sslmode=disable&pool=5&application_name=stock";
        let options: PostgresOptions = url.parse().expect(url);
        assert_eq!((options.schema.as_str(), options.pool), ("inventory", 5));
        assert_eq!((options.connect.get_host(), options.connect.get_port()), ("db", 6543));
        assert_eq!((options.connect.get_database(), options.connect.get_application_name()), (Some("goods"), Some("stock")));
        let plain: PostgresOptions = "postgresql://shop@db/goods".parse().expect("plain");
        assert_eq!((plain.schema.as_str(), plain.pool), ("public", 8));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for (url, what) in [
            ("sqlite://secret", "does not begin with `postgres:`"),
            ("postgres://a:secret@host:port/b", "is none"),
            ("postgres://a:secret@b/c?max_conections=3", "`max_conections`, which is not known; known are schema, pool, "),
            ("postgres://a:secret@b/c?pool=1", "`pool` that is no number"),
            ("postgres://a:secret@b/c?pool=many", "`pool` that is no number"),
            ("postgres://a:secret@b/c?schema=", "no name for a schema"),
            ("postgres://a:secret@b/c?schema=pg_toast", "no name for a schema"),
            ("postgres://a:secret@b/c?sslmode=perhaps", "perhaps"),
        ] {
            let error = url.parse::<PostgresOptions>().expect_err(url).to_string();
            assert!(error.contains(what) && !error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn a_url_may_name_a_schema() {
        assert!(names_a_schema("postgres://db/goods?pool=2&schema=inventory"));
        assert!(!names_a_schema("postgres://schema@db/goods?pool=2"));
    }

    #[test]
    fn a_build_without_tls_says_so() {
        let parsed = "postgres://a:secret@b/c?sslmode=require".parse::<PostgresOptions>();
        match cfg!(feature = "tls") {
            true => drop(parsed.expect("TLS is there")),
            false => assert!(parsed.expect_err("no TLS").to_string().contains("build with the feature `tls`")),
        }
    }

    #[test]
    fn no_password_is_shown() {
        let options: PostgresOptions = "postgres://shop:secret@db/goods".parse().expect("a URL");
        let shown = format!("{options:?}");
        assert!(!shown.contains("secret") && shown.contains("db:5432"), "{shown}");
    }
}
