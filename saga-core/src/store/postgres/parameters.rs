//! The parameters of a PostgreSQL URL.

use std::{fmt::Display, net::IpAddr, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};
use sqlx_core::Url;

use super::{
    super::{Migrate, StoreError},
    options::{LEAST, PostgresOptions},
    url::{Parameters, parameters, refused, several_hosts},
};

/// The supported parameters: libpq's, by their names, and the framework's `schema`, `pool`, `migrate` and `statement-cache-capacity`.
const KNOWN: &[&str] = &[
    "schema",
    "pool",
    "migrate",
    "statement-cache-capacity",
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslcert",
    "sslcompression",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// libpq's parameters that this client does not support, and what to do instead.
const MISSING: &[(&str, &str)] = &[
    ("passfile", "set PGPASSFILE to the file"),
    ("require_auth", "have the server refuse what is too weak, in its pg_hba.conf"),
    ("service", "write out the parameters of the service's section"),
    ("servicefile", "write out the parameters of the service's section"),
    ("sslcrl", "have the certificate replaced"),
    ("sslcrldir", "have the certificate replaced"),
    ("sslpassword", "give a key without a password"),
];

/// libpq's parameters that do not change what this client does, with the values that it accepts; `None` for any number.
/// [`PostgresOptions::answer_timeout`] replaces the client's keepalives.
const HARMLESS: &[(&str, Option<&[&str]>)] = &[
    ("channel_binding", Some(&["disable", "prefer"])),
    ("client_encoding", Some(&["UTF8", "utf8", "UTF-8", "utf-8", "unicode", "auto"])),
    ("gssencmode", Some(&["disable", "prefer"])),
    ("keepalives", None),
    ("keepalives_count", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("load_balance_hosts", Some(&["disable"])),
    ("sslcompression", Some(&["0"])),
    ("sslsni", Some(&["1"])),
    ("tcp_user_timeout", None),
];

/// Whether a parameter with this name exists.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name) || MISSING.iter().any(|(missing, _)| *missing == name) || of_the_server(name).is_some()
}

/// Returns the setting of the server in `options[SETTING]`.
fn of_the_server(name: &str) -> Option<&str> {
    name.strip_prefix("options[")?.strip_suffix(']')
}

/// Parses `postgres://` or `postgresql://` as libpq does, with four parameters of the framework: `schema`, `pool`, `migrate` and
/// `statement-cache-capacity`. Values that the URL does not contain are taken from `PGHOST` and the related environment variables, and the
/// password from `.pgpass`.
impl FromStr for PostgresOptions {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let given = parameters(url, is_known)?;
        unusable(&given)?;
        let connect = PgConnectOptions::from_url(&connecting(&given)?)
            // The error does not contain the URL or the cause, because they can contain a password.
            .map_err(|_| refused("cannot be used"))?
            .disable_statement_logging();
        let mut options = Self::new(within_reach(connect)?);
        if let Some(schema) = given.get("schema") {
            options = options.schema(schema)?;
        }
        if let Some(pool) = number(&given, "pool", LEAST..=10_000)? {
            options = options.pool(pool);
        }
        if let Some(migrate) = given.get("migrate") {
            let migrate = Migrate::of(migrate).ok_or_else(|| refused("has a `migrate` that is neither `apply` nor `check`"))?;
            options = options.migrate(migrate);
        }
        match given.get("connect_timeout").map(|seconds| seconds.trim().parse::<i64>()) {
            None => {}
            // In libpq, this means no time limit, which this client does not support.
            Some(Ok(seconds)) if seconds <= 0 => {}
            Some(Ok(seconds)) => options = options.begin_timeout(Duration::from_secs(seconds.unsigned_abs())),
            Some(Err(_)) => return Err(refused("has a `connect_timeout` that is no number of seconds")),
        }
        Ok(options)
    }
}

/// Refuses parameters that are unknown, or that libpq supports and this client does not.
fn unusable(given: &Parameters) -> Result<(), StoreError> {
    for (name, value) in given {
        if let Some((_, instead)) = MISSING.iter().find(|(missing, _)| missing == name) {
            return Err(refused(&format!("has the parameter `{name}`, which this client does not have: {instead}")));
        }
        if !is_known(name) {
            return Err(refused(&format!(
                "has the parameter `{}`, which is not known; the known ones are {}",
                name.escape_debug(),
                KNOWN.join(", ")
            )));
        }
        match HARMLESS.iter().find(|(harmless, _)| harmless == name) {
            Some((_, Some(values))) if !values.contains(&value.as_str()) => {
                return Err(refused(&format!(
                    "asks by `{name}` for what this client cannot do; it can do {}",
                    values.join(", ")
                )));
            }
            Some((_, None)) if value.trim().parse::<i64>().is_err() => {
                return Err(refused(&format!("has a `{name}` that is no number")));
            }
            _ => {}
        }
    }
    match given.get("target_session_attrs").map(String::as_str) {
        None | Some("any" | "read-write" | "primary") => {}
        Some(_) => {
            return Err(refused(
                "asks by `target_session_attrs` for a server that a service cannot write to; write read-write, or leave it out",
            ));
        }
    }
    Ok(())
}

/// The URL that sqlx reads: every value is a parameter, in the encoding that sqlx decodes.
fn connecting(given: &Parameters) -> Result<Url, StoreError> {
    let mut url = Url::parse("postgres:///").map_err(|_| refused("cannot be used"))?;
    let mut pairs = url.query_pairs_mut();
    if let Some(host) = host(given)? {
        pairs.append_pair("host", host);
    }
    if let Some(port) = number::<u16>(given, "port", 1..=u16::MAX)? {
        pairs.append_pair("port", &port.to_string());
    }
    if let Some(capacity) = number::<u16>(given, "statement-cache-capacity", 0..=u16::MAX)? {
        pairs.append_pair("statement-cache-capacity", &capacity.to_string());
    }
    for name in ["user", "password", "dbname", "options", "sslcert", "sslkey"] {
        if let Some(value) = given.get(name).filter(|value| !value.is_empty()) {
            pairs.append_pair(name, value);
        }
    }
    for (setting, value) in given.iter().filter_map(|(name, value)| Some((of_the_server(name)?, value))) {
        pairs.append_pair("options", &format!("-c {setting}={}", value.replace('\\', "\\\\").replace(' ', "\\ ")));
    }
    if let Some(name) = given.get("application_name").or_else(|| given.get("fallback_application_name")) {
        pairs.append_pair("application_name", name);
    }
    let (mode, root) = tls(given)?;
    if let Some(mode) = mode {
        pairs.append_pair("sslmode", mode);
    }
    if let Some(root) = root {
        pairs.append_pair("sslrootcert", root);
    }
    drop(pairs);
    Ok(url)
}

/// The host to connect to: a name, an address, or the folder of a socket.
fn host(given: &Parameters) -> Result<Option<&str>, StoreError> {
    let given_for = |name: &str| given.get(name).map(String::as_str).filter(|value| !value.is_empty());
    if let Some(address) = given_for("hostaddr") {
        if given_for("sslmode") == Some("verify-full") {
            return Err(refused("has a `hostaddr`, by which `sslmode=verify-full` cannot check a name; leave it out"));
        }
        return match address.parse::<IpAddr>() {
            Ok(_) => Ok(Some(address)),
            Err(_) if address.contains(',') => Err(several_hosts()),
            Err(_) => Err(refused("has a `hostaddr` that is no IP address")),
        };
    }
    let Some(host) = given_for("host") else { return Ok(None) };
    if host.starts_with('/') {
        return Ok(Some(host));
    }
    if host.starts_with('@') {
        return Err(refused("names an abstract socket, which this client does not have; name the folder of a socket, or a host"));
    }
    if host.contains(',') {
        return Err(several_hosts());
    }
    let (ip, _zone) = host.split_once('%').unwrap_or((host, ""));
    let named = host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    match named || ip.parse::<IpAddr>().is_ok() {
        true => Ok(Some(host)),
        false => Err(refused(
            "has a host that is not valid; write a name, an IP address (IPv6 between `[` and `]`) or, percent-encoded, the folder of a socket; \
             write @ as %40, / as %2F and : as %3A in a user or password",
        )),
    }
}

/// Returns `sslmode` and `sslrootcert`, combined as in libpq.
fn tls(given: &Parameters) -> Result<(Option<&str>, Option<&str>), StoreError> {
    const MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    let mode = given.get("sslmode").map(String::as_str).filter(|mode| !mode.is_empty());
    let root = given.get("sslrootcert").map(String::as_str).filter(|root| !root.is_empty());
    if mode.is_some_and(|mode| !MODES.contains(&mode)) {
        return Err(refused(&format!("has an `sslmode` that is none of {}", MODES.join(", "))));
    }
    match (mode, root) {
        // The system's certificates are those that are trusted without a file.
        (None | Some("verify-full"), Some("system")) => Ok((Some("verify-full"), None)),
        (Some(_), Some("system")) => Err(refused("has `sslrootcert=system`, which needs `sslmode=verify-full`")),
        // With a root certificate, `require` checks the server's certificate, as in libpq.
        (Some("require"), Some(root)) => Ok((Some("verify-ca"), Some(root))),
        both => Ok(both),
    }
}

/// Returns the connection options, if this build supports them. A connection over a socket does not use TLS, whatever `sslmode` is.
fn within_reach(connect: PgConnectOptions) -> Result<PgConnectOptions, StoreError> {
    if connect.get_socket().is_some() || connect.get_host().starts_with('/') {
        return Ok(connect.ssl_mode(PgSslMode::Disable));
    }
    let may_be_plain = matches!(connect.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer);
    match may_be_plain || cfg!(feature = "tls") {
        true => Ok(connect),
        false => Err(refused("asks for TLS by its `sslmode`, and this build has none: build with the feature `tls`")),
    }
}

fn number<T: FromStr + PartialOrd + Display>(
    given: &Parameters,
    name: &str,
    range: std::ops::RangeInclusive<T>,
) -> Result<Option<T>, StoreError> {
    let Some(text) = given.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.trim().parse() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => Err(refused(&format!("has a `{name}` that is no number from {} to {}", range.start(), range.end()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> PostgresOptions {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_url_names_everything() {
        let url = "postgres://shop:secret@db:6543/goods?schema=inventory&sslmode=disable&pool=5&application_name=stock\
                   &connect_timeout=3&keepalives_idle=30&target_session_attrs=read-write&options=-c%20statement_timeout%3D1000";
        let options = options(url);
        assert_eq!((options.schema.as_str(), options.pool, options.begin_timeout), ("inventory", 5, Duration::from_secs(3)));
        let connect = options.connect_options();
        assert_eq!((connect.get_host(), connect.get_port(), connect.get_username()), ("db", 6543, "shop"));
        assert_eq!((connect.get_database(), connect.get_application_name()), (Some("goods"), Some("stock")));
        assert_eq!(connect.get_options(), Some("-c statement_timeout=1000"));
        let plain = self::options("postgresql://shop@db/goods");
        assert_eq!((plain.schema.as_str(), plain.pool, plain.names_a_schema()), ("public", 12, false));
        assert!(options.names_a_schema());
    }

    #[test]
    fn a_host_is_a_name_an_address_or_a_folder() {
        for (url, host, port) in [
            ("postgres://db.shop:1/d", "db.shop", 1),
            ("postgres://[::1]:7/d", "::1", 7),
            ("postgres:///d?host=::1", "::1", 5432),
            ("postgres:///d?hostaddr=10.0.0.1&host=db", "10.0.0.1", 5432),
            ("postgres://old:1/d?host=new&port=2", "new", 2),
        ] {
            let connect = options(url).connect_options();
            assert_eq!((connect.get_host(), connect.get_port(), connect.get_socket()), (host, port, None), "{url}");
        }
        for url in [
            "postgres:///d?host=/run/my db&port=7",
            "postgres://%2Frun%2Fmy%20db:7/d",
            "postgres:///d?host=%2Frun/my%20db&port=7",
        ] {
            let connect = options(url).connect_options();
            let socket = connect.get_socket().and_then(|folder| folder.to_str());
            assert_eq!((socket, connect.get_port()), (Some("/run/my db"), 7), "{url}");
        }
        assert_eq!(options("postgres://u@[::1]/d").server(), "PostgreSQL at [::1]:5432, database `d`");
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name_and_without_the_password() {
        for (url, what) in [
            ("postgres://a:secret@host:port/b", "`port` that is no number from 1 to 65535"),
            ("postgres://a:secret@host:65536/b", "`port` that is no number from 1 to 65535"),
            ("postgres://a:secret@host:0/b", "`port` that is no number from 1 to 65535"),
            ("postgres://a:sec/ret@host/b", "`port` that is no number"),
            ("postgres://a:x@secret@host/b", "a host that is not valid"),
            ("postgres://a:secret@b/c?host=x,y", "names several hosts"),
            ("postgres://a:secret@b/c?host=@x", "abstract socket"),
            (
                "postgres://a:secret@b/c?max_conections=3",
                "`max_conections`, which is not known; the known ones are schema, pool, ",
            ),
            ("postgres://a:secret@b/c?pool=1", "`pool` that is no number from 5"),
            ("postgres://a:secret@b/c?pool=many", "`pool` that is no number"),
            ("postgres://a:secret@b/c?schema=", "no name for a schema"),
            ("postgres://a:secret@b/c?schema=pg_toast", "no name for a schema"),
            ("postgres://a:secret@b/c?sslmode=secret", "`sslmode` that is none of disable, allow"),
            ("postgres://a:secret@b/c?sslrootcert=system&sslmode=prefer", "needs `sslmode=verify-full`"),
            ("postgres://a:secret@b/c?service=x", "`service`, which this client does not have: write out"),
            ("postgres://a:secret@b/c?passfile=x", "set PGPASSFILE"),
            ("postgres://a:secret@b/c?channel_binding=require", "asks by `channel_binding`"),
            ("postgres://a:secret@b/c?client_encoding=latin1", "asks by `client_encoding`"),
            ("postgres://a:secret@b/c?keepalives=yes", "`keepalives` that is no number"),
            ("postgres://a:secret@b/c?connect_timeout=soon", "`connect_timeout` that is no number"),
            ("postgres://a:secret@b/c?target_session_attrs=standby", "cannot write to"),
            ("postgres://a:secret@b/c?hostaddr=b", "no IP address"),
        ] {
            let error = url.parse::<PostgresOptions>().expect_err(url).to_string();
            assert!(error.contains(what) && !error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn a_build_without_tls_says_so() {
        let parsed = "postgres://a:secret@b/c?sslmode=require".parse::<PostgresOptions>();
        match cfg!(feature = "tls") {
            true => drop(parsed.expect("TLS is there")),
            false => assert!(parsed.expect_err("no TLS").to_string().contains("build with the feature `tls`")),
        }
        // libpq ignores `sslmode` for a socket.
        let socket = options("postgres:///c?host=/run/db&sslmode=require").connect_options();
        assert!(matches!(socket.get_ssl_mode(), PgSslMode::Disable));
    }

    #[test]
    fn a_certificate_that_is_named_is_used() {
        if cfg!(feature = "tls") {
            let mode = |query: &str| options(&format!("postgres://b/c?{query}")).connect_options().get_ssl_mode();
            assert!(matches!(mode("sslmode=require"), PgSslMode::Require));
            assert!(matches!(mode("sslmode=require&sslrootcert=ca.pem"), PgSslMode::VerifyCa));
            assert!(matches!(mode("sslrootcert=system"), PgSslMode::VerifyFull));
        }
    }

    #[test]
    fn no_password_is_shown() {
        for url in ["postgres://shop:secret@db/goods", "postgres://shop@db/goods?password=secret"] {
            let shown = format!("{:?}", options(url));
            assert!(!shown.contains("secret") && shown.contains("db:5432"), "{shown}");
        }
    }
}
