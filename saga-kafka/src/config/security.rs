//! Checks of encryption and credentials: options that contradict each other, features that this build of the client lacks, and
//! data that would be sent unencrypted.

use std::collections::BTreeSet;

use rdkafka::ClientConfig;

use super::{KafkaConfig, Problem, address::Address};

const WITH_TLS: &str = "turn on the feature `tls` of `sagas`, which builds OpenSSL with it (that takes perl and make)";
const WITH_CURL: &str = "depend on `rdkafka` too, with its feature `curl-static`, beside the feature `tls` of `sagas`";
const WITH_KERBEROS: &str = "depend on `rdkafka` too, with its feature `gssapi`, which takes Cyrus SASL and Kerberos";

/// The SASL mechanisms: the name, the client feature that provides it, and how to get that feature.
const MECHANISMS: &[(&str, &str, &str)] = &[
    ("PLAIN", "sasl_plain", WITH_TLS),
    ("SCRAM-SHA-256", "sasl_scram", WITH_TLS),
    ("SCRAM-SHA-512", "sasl_scram", WITH_TLS),
    ("OAUTHBEARER", "sasl_oauthbearer", WITH_TLS),
    ("GSSAPI", "sasl_gssapi", WITH_KERBEROS),
];

/// The features of this build of the client, as librdkafka reports them.
pub(super) struct Features(BTreeSet<String>);

impl Features {
    pub(super) fn of_client() -> Self {
        let features = ClientConfig::new().create_native_config().and_then(|client| client.get("builtin.features"));
        Self(features.unwrap_or_default().split(',').map(|feature| feature.trim().to_owned()).collect())
    }

    pub(super) fn has(&self, feature: &str) -> bool {
        self.0.contains(feature)
    }
}

/// The security options of a connection.
struct Security<'a> {
    config: &'a KafkaConfig,
    encrypted: bool,
    authenticated: bool,
}

/// Returns what is wrong with the security options.
pub(super) fn problems(config: &KafkaConfig, features: &Features) -> Vec<Problem> {
    let protocol = option(config, "security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
    let (encrypted, authenticated) = match protocol.as_str() {
        "plaintext" => (false, false),
        "ssl" => (true, false),
        "sasl_plaintext" => (false, true),
        "sasl_ssl" => (true, true),
        _ => return vec![invalid("security.protocol", "must be plaintext, ssl, sasl_plaintext or sasl_ssl")],
    };
    let security = Security { config, encrypted, authenticated };
    let mut problems = security.encryption(features);
    problems.extend(security.credentials(features));
    problems.extend(security.in_the_clear());
    problems
}

/// Whether connections are encrypted and no trusted certificates are configured, so that the system's certificates are used.
pub(super) fn trusts_the_system(config: &KafkaConfig) -> bool {
    let encrypted = option(config, "security.protocol").is_some_and(|protocol| protocol.to_ascii_lowercase().ends_with("ssl"));
    encrypted && !["ssl.ca.location", "ssl.ca.pem", "ssl.ca.certificate.stores"].iter().any(|name| option(config, name).is_some())
}

/// The value of an option, which can be given by its alias.
fn option<'a>(config: &'a KafkaConfig, name: &str) -> Option<&'a str> {
    let given = config.client.iter().find(|(given, _)| super::names::canonical(given) == name);
    given.map(|(_, value)| value.as_str())
}

fn invalid(name: &str, reason: impl Into<String>) -> Problem {
    Problem::Value { name: name.to_owned(), reason: reason.into() }
}

impl Security<'_> {
    fn encryption(&self, features: &Features) -> Vec<Problem> {
        match (self.encrypted, features.has("ssl")) {
            (true, true) => vec![],
            (true, false) => {
                vec![Problem::Missing { what: "TLS", option: "security.protocol".to_owned(), fix: WITH_TLS }]
            }
            (false, _) => {
                let reason = "would not be used; set `security.protocol` to ssl or sasl_ssl, or leave it out";
                self.given(&["ssl.", "enable.ssl."]).map(|name| invalid(name, reason)).collect()
            }
        }
    }

    fn credentials(&self, features: &Features) -> Vec<Problem> {
        if !self.authenticated {
            let given = self.given(&["sasl.", "enable.sasl."]);
            let reason = "would not be used; set `security.protocol` to sasl_ssl (or, in a network you trust, sasl_plaintext)";
            return given.map(|name| invalid(name, reason)).collect();
        }
        let Some(given) = option(self.config, "sasl.mechanism") else {
            return vec![invalid("sasl.mechanism", "is missing; it is PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")];
        };
        let Some((mechanism, feature, fix)) = MECHANISMS.iter().find(|(name, ..)| *name == given) else {
            return vec![invalid("sasl.mechanism", "must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")];
        };
        let mut problems = Vec::new();
        if !features.has(feature) {
            problems.push(Problem::Missing { what: mechanism, option: "sasl.mechanism".to_owned(), fix });
        }
        match *mechanism {
            "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => {
                let missing = ["sasl.username", "sasl.password"].into_iter().filter(|name| option(self.config, name).is_none());
                problems.extend(
                    missing.map(|name| invalid(name, format!("is missing; {mechanism} takes a user name and a password"))),
                );
            }
            "OAUTHBEARER" => problems.extend(self.tokens(features)),
            _ => {}
        }
        problems
    }

    /// Checks the source of the OAUTHBEARER tokens.
    fn tokens(&self, features: &Features) -> Option<Problem> {
        let unsigned = option(self.config, "enable.sasl.oauthbearer.unsecure.jwt") == Some("true");
        match option(self.config, "sasl.oauthbearer.method") {
            Some("oidc") if !features.has("oidc") => {
                Some(Problem::Missing { what: "OIDC", option: "sasl.oauthbearer.method".to_owned(), fix: WITH_CURL })
            }
            Some("oidc") => None,
            _ if unsigned => None,
            _ => Some(invalid("sasl.oauthbearer.method", "must be oidc: there is no other source of tokens")),
        }
    }

    /// The configured options with one of these prefixes. Unknown options are omitted, because they are reported as unknown.
    fn given(&self, prefixes: &[&str]) -> impl Iterator<Item = &String> {
        let names = self.config.client.keys().filter(|name| super::names::is_known(name));
        names.filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
    }

    fn in_the_clear(&self) -> Option<Problem> {
        if self.encrypted || self.config.allow_plaintext {
            return None;
        }
        let addresses = self.config.bootstrap.iter().filter_map(|address| Address::parse(address).ok());
        let brokers: Vec<_> = addresses.filter(|address| !address.is_loopback()).map(|address| address.to_string()).collect();
        (!brokers.is_empty()).then_some(Problem::Plaintext { brokers, credentials: self.authenticated })
    }
}

#[cfg(test)]
mod tests;
