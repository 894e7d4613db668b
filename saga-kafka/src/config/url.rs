//! Parsing of `kafka://[user:password@]host:port,host:port?option=value`.

use std::{collections::BTreeSet, str::FromStr};

use percent_encoding::percent_decode_str;

use super::{KafkaConfig, KafkaConfigError, Problem, address::Address, options};

const SCHEME: &str = "kafka://";

impl FromStr for KafkaConfig {
    type Err = KafkaConfigError;

    /// Parses a URL: `kafka://host:port,host:port?option=value&option=value`. `user:password@` before the hosts sets
    /// `sasl.username` and `sasl.password`. Characters with a meaning in URLs are percent-encoded. The options are those of the
    /// client, by librdkafka's names, and `plaintext=allow`, `topic.create`, `topic.replication`, `topic.retention`,
    /// `topic.option.<name>` and `drain.timeout.ms`.
    ///
    /// # Errors
    /// If the text is not such a URL, or a value has the wrong type. [`KafkaConfig::check`] finds all other problems.
    fn from_str(url: &str) -> Result<Self, KafkaConfigError> {
        let wrong = |what: &str| KafkaConfigError::from(Problem::Url(what.to_owned()));
        let rest = match url.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
            _ => return Err(wrong("does not begin with kafka://")),
        };
        if rest.contains('#') {
            return Err(wrong("has a `#`; write %23 for a `#` in a value"));
        }
        let (authority, query) = rest.split_once('?').map_or((rest, None), |(authority, query)| (authority, Some(query)));
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains('/') {
            return Err(wrong("has a path; hosts are separated by commas, and `/` is written %2F in a password"));
        }
        let (credentials, hosts) = authority.rsplit_once('@').map_or((None, authority), |(before, hosts)| (Some(before), hosts));
        if hosts.is_empty() {
            return Err(Problem::NoBroker.into());
        }

        let mut config = Self::new(hosts);
        // If a password contains an unescaped `?`, its first part is parsed as a host. An error message must not contain that part.
        let cut = credentials.is_none() && query.is_some_and(|query| query.contains('@'));
        if cut && config.bootstrap.iter().any(|address| Address::parse(address).is_err()) {
            return Err(wrong("has something other than hosts and ports before the `?`; write %3F for a `?` in a password"));
        }
        let mut problems = Vec::new();
        let mut given = BTreeSet::new();
        for (name, value) in credentials.into_iter().flat_map(credential_options).chain(query.into_iter().flat_map(query_options))
        {
            let read = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).ok();
            let Some(name) = read(name) else {
                problems.push(Problem::Url("has an option that is not UTF-8".to_owned()));
                continue;
            };
            let set = match value.map(read) {
                _ if name.is_empty() => Err(Problem::Url("has an option without a name".to_owned())),
                None => Err(invalid(&name, "has no value; write `=` and the value after it")),
                Some(None) => Err(invalid(&name, "is not UTF-8")),
                Some(Some(_)) if !given.insert(name.clone()) => Err(invalid(&name, "is given twice")),
                Some(Some(value)) => options::set(&mut config, &name, value),
            };
            problems.extend(set.err());
        }
        KafkaConfigError::unless_empty(problems).map(|()| config)
    }
}

fn invalid(name: &str, reason: &str) -> Problem {
    Problem::Value { name: name.to_owned(), reason: reason.to_owned() }
}

/// The options before the `@`.
fn credential_options(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let (user, password) = text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    [("sasl.username", Some(user))].into_iter().chain(password.map(|password| ("sasl.password", Some(password))))
}

/// The options after the `?`.
fn query_options(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let options = text.split('&').filter(|option| !option.is_empty());
    options.map(|option| option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value))))
}
