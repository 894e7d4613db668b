//! Parses a PostgreSQL URL as libpq does.
//!
//! In `postgres://user:password@host:port/database?parameter=value`, the part before the `?` stands for the parameters `user`, `password`,
//! `host`, `port` and `dbname`. If a parameter is given twice, the last value counts. Every part is percent-decoded. A `+` is not decoded
//! as a space. See <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>.

use std::collections::BTreeMap;

use sqlx_core::percent_encoding::percent_decode_str;

use super::super::StoreError;

/// Parameters by name.
pub(super) type Parameters = BTreeMap<String, String>;

/// Returns the parameters of `url`. `is_known` tells whether a parameter with a name exists.
///
/// # Errors
/// When the URL is not valid. The error contains none of its values, because each could be part of a password.
pub(super) fn parameters(url: &str, is_known: fn(&str) -> bool) -> Result<Parameters, StoreError> {
    let schemes = ["postgres://", "postgresql://"];
    let rest =
        schemes.iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or_else(|| refused("does not begin with `postgres://`"))?;
    let mut given = Parameters::new();
    let rest = credentials(rest, &mut given)?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (address, database) = place.split_once('/').unwrap_or((place, ""));
    self::address(address, &mut given)?;
    put(&mut given, "dbname", database, "database")?;
    self::query(query, is_known, &mut given)?;
    Ok(given)
}

/// The error for a URL that cannot be used, with the reason.
pub(super) fn refused(what: &str) -> StoreError {
    StoreError::Refused(format!("the database URL {what}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME"))
}

/// Takes `user:password@` from the beginning of `rest`. It ends at the first `@`, if no `/` comes before it.
fn credentials<'u>(rest: &'u str, given: &mut Parameters) -> Result<&'u str, StoreError> {
    let Some(end) = rest.find(['@', '/']).filter(|end| rest[*end..].starts_with('@')) else { return Ok(rest) };
    let (user, password) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
    put(given, "user", user, "user")?;
    put(given, "password", password, "password")?;
    Ok(&rest[end + 1..])
}

fn address(text: &str, given: &mut Parameters) -> Result<(), StoreError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']').ok_or_else(|| refused("has a `[` without `]` in its host"))?;
            let port = match after.strip_prefix(':') {
                Some(port) => port,
                None if after.is_empty() => "",
                None if after.starts_with(',') => return Err(several_hosts()),
                None => return Err(refused("has something other than a port after the `]` of its host")),
            };
            match host {
                "" => return Err(refused("has no IPv6 address between `[` and `]`")),
                host => (host, port),
            }
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if port.contains(',') {
        return Err(several_hosts());
    }
    put(given, "host", host, "host")?;
    put(given, "port", port, "port")
}

/// The error for a URL with several hosts.
pub(super) fn several_hosts() -> StoreError {
    refused(
        "names several hosts, which this client does not try in turn: name one that leads to the primary, as a name that follows \
         it or a proxy does",
    )
}

fn query(text: &str, is_known: fn(&str) -> bool, given: &mut Parameters) -> Result<(), StoreError> {
    // The text after an unescaped `&` in a password is part of that password.
    let mut after_a_secret = false;
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(refused("has a parameter without a `=`; write & as %26 and = as %3D in a value"));
        };
        let name = decoded(name, "name of a parameter")?;
        let is_a_name = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']'));
        if !is_a_name || (after_a_secret && !is_known(&name)) {
            return Err(refused("has a parameter that is none; write & as %26 in a value"));
        }
        let value = decoded(value, &format!("parameter `{name}`"))?;
        after_a_secret |= matches!(name.as_str(), "password" | "sslpassword");
        // JDBC writes `ssl=true`, and libpq accepts it.
        match (name.as_str(), value.as_str()) {
            ("ssl", "true") => given.insert("sslmode".to_owned(), "require".to_owned()),
            _ => given.insert(name, value),
        };
    }
    Ok(())
}

fn put(given: &mut Parameters, name: &str, text: &str, what: &str) -> Result<(), StoreError> {
    if !text.is_empty() {
        given.insert(name.to_owned(), decoded(text, what)?);
    }
    Ok(())
}

/// Percent-decodes `text`. `what` is the part of the URL, for the error.
fn decoded(text: &str, what: &str) -> Result<String, StoreError> {
    let escaped =
        |at: usize| text.get(at + 1..at + 3).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if text.match_indices('%').any(|(at, _)| !escaped(at)) {
        return Err(refused(&format!("has a `%` without two hexadecimal digits behind it in its {what}; write % as %25")));
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| refused(&format!("has a {what} that is not UTF-8")))?;
    match decoded.contains('\0') {
        true => Err(refused(&format!("has a zero byte in its {what}"))),
        false => Ok(decoded.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parameters::is_known, *};

    #[test]
    fn a_url_is_taken_apart_as_libpq_does_it() {
        // Each URL was given to psql 15, which used these parameters.
        for (url, expected) in [
            ("postgres://u:p@h:1/d", &[("user", "u"), ("password", "p"), ("host", "h"), ("port", "1"), ("dbname", "d")][..]),
            ("postgresql://", &[]),
            ("postgres:///d?host=/run/a b&user=u", &[("dbname", "d"), ("host", "/run/a b"), ("user", "u")]),
            ("postgres://%2Frun%2Fdb:1/d", &[("host", "/run/db"), ("port", "1"), ("dbname", "d")]),
            ("postgres://?host=h&dbname=d", &[("host", "h"), ("dbname", "d")]),
            ("postgres://h:1?dbname=d", &[("host", "h"), ("port", "1"), ("dbname", "d")]),
            ("postgres://u:p@h/d?user=v&password=q", &[("user", "v"), ("password", "q"), ("host", "h"), ("dbname", "d")]),
            ("postgres://h/d?user=u&user=v&", &[("host", "h"), ("dbname", "d"), ("user", "v")]),
            ("postgres://u:a+b%20%2B%25%40%3A@h/", &[("user", "u"), ("password", "a+b +%@:"), ("host", "h")]),
            ("postgres://u:p:q#r?s@h", &[("user", "u"), ("password", "p:q#r?s"), ("host", "h")]),
            ("postgres://[::1]:5/d", &[("host", "::1"), ("port", "5"), ("dbname", "d")]),
            ("postgres://[::1]/d", &[("host", "::1"), ("dbname", "d")]),
            ("postgres://h:/a/b%23#c", &[("host", "h"), ("dbname", "a/b##c")]),
            ("postgres://h?options=-c%20a%3D1+", &[("host", "h"), ("options", "-c a=1+")]),
            // libpq requires the second `=` to be escaped.
            ("postgres://h?options=-c a=1", &[("host", "h"), ("options", "-c a=1")]),
            ("postgres://h?%75ser=u&application_name=", &[("host", "h"), ("user", "u"), ("application_name", "")]),
            ("postgres://h?ssl=true", &[("host", "h"), ("sslmode", "require")]),
        ] {
            let expected: Parameters = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(parameters(url, is_known).expect(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_a_secret() {
        for (url, what) in [
            ("postgres:secret", "does not begin with `postgres://`"),
            ("POSTGRES://secret", "does not begin with `postgres://`"),
            ("sqlite://secret", "does not begin with `postgres://`"),
            ("postgres://u:secret%zz@h", "`%` without two hexadecimal digits behind it in its password"),
            ("postgres://u:secret%4", "`%` without two hexadecimal digits behind it in its port"),
            ("postgres://u:secret%00@h", "zero byte in its password"),
            ("postgres://u:secret%ff@h", "password that is not UTF-8"),
            ("postgres://u:secret@[::1/d", "`[` without `]`"),
            ("postgres://u:secret@[]/d", "no IPv6 address"),
            ("postgres://u:secret@[::1]x/d", "after the `]`"),
            ("postgres://u:secret@a:1,b:2/d", "names several hosts"),
            ("postgres://u:secret@[::1],b/d", "names several hosts"),
            ("postgres://u@h/d?password=a&secret", "without a `=`"),
            ("postgres://u@h/d?password=a&secret=b", "a parameter that is none; write & as %26"),
            ("postgres://u@h/d?=secret", "a parameter that is none"),
            ("postgres://u@h/d?user=%zz", "in its parameter `user`"),
        ] {
            let error = parameters(url, is_known).expect_err(url).to_string();
            assert!(error.contains(what) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
