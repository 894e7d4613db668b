//! The address of a broker: `host`, `host:port` or `[IPv6]:port`.

use std::net::{IpAddr, Ipv6Addr};

/// Kafka's default port.
const PORT: u16 = 9092;

/// The address of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// A name or an IP address; IPv6 without brackets.
    host: String,
    port: u16,
}

/// Splits `text` at its commas.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(',').map(|address| address.trim().to_owned()).collect()
}

impl Address {
    /// Parses one address.
    ///
    /// # Errors
    /// What is wrong with `text`, as the end of a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("has a `[` without `]`")?;
                host.parse::<Ipv6Addr>().map_err(|_| "has no IPv6 address between `[` and `]`")?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err("has something other than a port after `]`"),
                }
            }
            None => match text.split_once(':') {
                Some((_, port)) if port.contains("//") => {
                    return Err("names a protocol; leave it out, and set `security.protocol`");
                }
                Some((_, port)) if port.contains(':') => {
                    return Err("has more than one `:`; write an IPv6 address in brackets, as `[::1]:9092`");
                }
                Some((host, port)) => (named(host)?, Some(port)),
                None => (named(text)?, None),
            },
        };
        let port = match port.map(str::parse) {
            None => PORT,
            Some(Ok(0)) | Some(Err(_)) => return Err("has no port from 1 to 65535 after `:`"),
            Some(Ok(port)) => port,
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// Whether the broker is certainly on this machine. Names are not resolved.
    pub(super) fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => {
                let name = self.host.trim_end_matches('.').to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }
}

fn named(host: &str) -> Result<&str, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match host {
        "" => Err("has no host"),
        host if host.chars().all(fits) => Ok(host),
        _ => Err("is no host name; one has letters, digits, `.`, `-` and `_`"),
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address() {
        for (text, shown, loopback) in [
            ("broker-1.shop.internal:9093", "broker-1.shop.internal:9093", false),
            ("kafka", "kafka:9092", false),
            ("localhost", "localhost:9092", true),
            ("LocalHost.:1", "LocalHost.:1", true),
            ("kafka.localhost:9092", "kafka.localhost:9092", true),
            ("notlocalhost:9092", "notlocalhost:9092", false),
            ("127.3.2.1:9092", "127.3.2.1:9092", true),
            ("10.0.0.7:9092", "10.0.0.7:9092", false),
            ("0.0.0.0:9092", "0.0.0.0:9092", false),
            ("[::1]:9092", "[::1]:9092", true),
            ("[::1]", "[::1]:9092", true),
            ("[::ffff:127.0.0.1]:9092", "[::ffff:127.0.0.1]:9092", true),
            ("[2001:db8::7]:9094", "[2001:db8::7]:9094", false),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (shown, loopback), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for (text, why) in [
            ("", "no host"),
            (":9092", "no host"),
            ("a b:9092", "no host name"),
            ("user@kafka:9092", "no host name"),
            ("kafka:0", "no port"),
            ("kafka:65536", "no port"),
            ("kafka:", "no port"),
            ("::1", "in brackets"),
            ("SSL://kafka:9093", "names a protocol"),
            ("[::1:9092", "without `]`"),
            ("[kafka]:9092", "no IPv6"),
            ("[::1]9092", "after `]`"),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
