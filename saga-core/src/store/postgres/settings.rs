//! A PostgreSQL database as a part of a program's configuration.

use std::{fmt, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{
    super::{Migrate, StoreError},
    options::{LEAST, PostgresOptions},
};

/// The location and the settings of a PostgreSQL database in a program's configuration: a table, or a string that is the URL.
///
/// A field that is not set has the default of [`PostgresOptions`]. A field that is set takes precedence over the URL. `Debug` does not
/// contain the password. Serialization contains it, because a program must be able to read its configuration again.
///
/// ```
/// # use saga_core::store::postgres::{PostgresOptions, PostgresSettings};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let settings: PostgresSettings = serde_json::from_str(
///     r#"{ "url": "postgres://shop@db.internal/shop", "password": "secret", "schema": "inventory", "pool": 12 }"#,
/// )?;
/// let options = PostgresOptions::try_from(&settings)?;
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresSettings {
    /// `postgres://user@host:port/database?parameter=value`, with all parameters of [`PostgresOptions`].
    pub url: String,
    /// The password, if it is not part of the URL.
    #[serde(default)]
    pub password: Option<String>,
    /// See [`PostgresOptions::schema`].
    #[serde(default)]
    pub schema: Option<String>,
    /// See [`PostgresOptions::pool`]; at least 5.
    #[serde(default)]
    pub pool: Option<u32>,
    /// See [`PostgresOptions::begin_timeout`], in milliseconds.
    #[serde(default)]
    pub begin_timeout_ms: Option<u64>,
    /// See [`PostgresOptions::answer_timeout`], in milliseconds.
    #[serde(default)]
    pub answer_timeout_ms: Option<u64>,
    /// See [`PostgresOptions::lock_timeout`], in milliseconds.
    #[serde(default)]
    pub lock_timeout_ms: Option<u64>,
    /// See [`PostgresOptions::idle_transaction_timeout`], in milliseconds.
    #[serde(default)]
    pub idle_transaction_timeout_ms: Option<u64>,
    /// See [`PostgresOptions::migrate`]: `apply` or `check`.
    #[serde(default)]
    pub migrate: Option<Migrate>,
    /// See [`PostgresOptions::application_name`].
    #[serde(default)]
    pub application_name: Option<String>,
}

impl PostgresSettings {
    /// The database at `url`, without further settings.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password: None,
            schema: None,
            pool: None,
            begin_timeout_ms: None,
            answer_timeout_ms: None,
            lock_timeout_ms: None,
            idle_transaction_timeout_ms: None,
            migrate: None,
            application_name: None,
        }
    }
}

impl FromStr for PostgresSettings {
    type Err = StoreError;

    /// The database at `url`, without further settings.
    ///
    /// # Errors
    /// When the URL is not valid.
    fn from_str(url: &str) -> Result<Self, StoreError> {
        url.parse::<PostgresOptions>()?;
        Ok(Self::new(url))
    }
}

impl TryFrom<&PostgresSettings> for PostgresOptions {
    type Error = StoreError;

    /// # Errors
    /// When the URL or the schema is not valid, or when `pool` is less than 5.
    fn try_from(settings: &PostgresSettings) -> Result<Self, StoreError> {
        type Set<T> = fn(PostgresOptions, T) -> PostgresOptions;
        let mut options: Self = settings.url.parse()?;
        if let Some(password) = &settings.password {
            options.connect = options.connect.password(password);
        }
        if let Some(schema) = &settings.schema {
            options = options.schema(schema)?;
        }
        if let Some(pool) = settings.pool {
            if pool < LEAST {
                return Err(StoreError::Refused(format!("`pool` must be at least {LEAST} connections, not {pool}")));
            }
            options = options.pool(pool);
        }
        if let Some(migrate) = settings.migrate {
            options = options.migrate(migrate);
        }
        if let Some(name) = &settings.application_name {
            options = options.application_name(name);
        }
        let timeouts: [(Option<u64>, Set<Duration>); 4] = [
            (settings.begin_timeout_ms, Self::begin_timeout),
            (settings.answer_timeout_ms, Self::answer_timeout),
            (settings.lock_timeout_ms, Self::lock_timeout),
            (settings.idle_transaction_timeout_ms, Self::idle_transaction_timeout),
        ];
        let given = timeouts.into_iter().filter_map(|(millis, set)| Some((Duration::from_millis(millis?), set)));
        Ok(given.fold(options, |options, (timeout, set)| set(options, timeout)))
    }
}

impl Serialize for PostgresSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for PostgresSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrTable;

        impl<'de> Visitor<'de> for UrlOrTable {
            type Value = PostgresSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a PostgreSQL URL as a string, or a table with `url`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<PostgresSettings, E> {
                url.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PostgresSettings, A::Error> {
                PostgresSettings::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(UrlOrTable)
    }
}

/// Does not contain the password, neither from the field nor from the URL.
impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PostgresOptions::try_from(self) {
            Ok(options) => f.debug_tuple("PostgresSettings").field(&options).finish(),
            Err(error) => f.debug_tuple("PostgresSettings").field(&error).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<PostgresOptions, String> {
        let settings: PostgresSettings = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let written = serde_json::to_string(&settings).expect("written");
        assert_eq!(serde_json::from_str::<PostgresSettings>(&written).expect("read again"), settings);
        PostgresOptions::try_from(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_comes_before_its_url() {
        let text = r#"{ "url": "postgres://shop:old@db/goods?schema=a&pool=5&application_name=x", "password": "secret", "schema": "b",
            "pool": 9, "begin_timeout_ms": 1, "answer_timeout_ms": 2, "lock_timeout_ms": 3, "idle_transaction_timeout_ms": 4,
            "application_name": "y", "migrate": "check" }"#;
        let options = options(text).expect(text);
        assert_eq!((options.schema.as_str(), options.pool, options.application_name.as_deref()), ("b", 9, Some("y")));
        let timeouts = [options.begin_timeout, options.answer_timeout, options.lock_timeout, options.idle_transaction_timeout];
        assert_eq!(timeouts, [1, 2, 3, 4].map(Duration::from_millis));
        assert_eq!((options.connect.get_username(), options.migrate), ("shop", Migrate::Check));
    }

    #[test]
    fn a_url_says_it_all() {
        let options = options(r#""postgres://shop@db/goods?schema=a&pool=5""#).expect("a URL");
        assert_eq!((options.schema.as_str(), options.pool), ("a", 5));
    }

    #[test]
    fn a_url_is_parsed_as_it_is_read_from_a_configuration() {
        let url = "postgres://shop:secret@db/goods?schema=a&pool=5";
        assert_eq!(url.parse::<PostgresSettings>().expect("a URL"), PostgresSettings::new(url));
        let error = "postgres://shop:secret@db/goods?pol=3".parse::<PostgresSettings>().expect_err("a typo").to_string();
        assert!(error.contains("the parameter `pol`, which is not known") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, message) in [
            (r#"{ "url": "postgres://a:secret@b/c", "pool": 1 }"#, "`pool` must be at least 5 connections, not 1"),
            (r#"{ "url": "postgres://a:secret@b/c", "schema": "pg_x" }"#, "`pg_x` is no name for a schema"),
            (r#"{ "url": "mysql://a:secret@b/c" }"#, "does not begin with `postgres://`"),
            (r#"{ "url": "postgres://b/c", "pasword": "secret" }"#, "unknown field `pasword`, expected one of `url`, `password`"),
            (r#"{ "password": "secret" }"#, "missing field `url`"),
            (r#""postgres://a:secret@b/c?pol=3""#, "the parameter `pol`, which is not known"),
            ("7", "expected a PostgreSQL URL as a string, or a table with `url`"),
        ] {
            let error = options(text).expect_err(text);
            assert!(error.contains(message) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let mut settings = PostgresSettings::new("postgres://shop:secret@db/goods");
        settings.password = Some("secret".to_owned());
        assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
        settings.url = "postgres://shop:secret@db:x/goods".to_owned();
        assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
    }
}
