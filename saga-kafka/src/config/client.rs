//! The translation of a configuration to the client's options, and of the client's errors back to the configuration.

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};

use super::{KafkaConfig, KafkaConfigError, Problem, address::Address, names, secret, security};

impl KafkaConfig {
    /// The options that the configuration sets for all clients: the brokers, and the client options by their canonical names.
    /// Options that are not configured are not set. The exception is the location of the system's certificates, which an OpenSSL
    /// that is built into the program does not know.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let addresses = self.bootstrap.iter().filter_map(|address| Address::parse(address).ok());
        let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
        let mut config = ClientConfig::new();
        for (name, value) in &self.client {
            config.set(names::canonical(name), value);
        }
        if security::trusts_the_system(self) {
            config.set("ssl.ca.location", "probe");
        }
        config.set("bootstrap.servers", addresses.join(",")).set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// Explains `error` in terms of this configuration, without secret values.
    pub(crate) fn explain(&self, error: &KafkaError) -> KafkaConfigError {
        let problem = match error {
            KafkaError::ClientConfig(_, text, name, _) => self.rejected(name, text),
            KafkaError::ClientCreation(text) => Problem::Client(self.scrub(text)),
            other => {
                Problem::Client(other.rdkafka_error_code().map_or("for an unknown reason".to_owned(), |code| code.to_string()))
            }
        };
        problem.into()
    }

    /// The problem that the client reports as `text` for the option `name`.
    pub(super) fn rejected(&self, name: &str, text: &str) -> Problem {
        let reason = match secret::is_secret(name) {
            true => "has a value that the client does not take".to_owned(),
            false => format!("has a value that the client does not take: {}", self.scrub(text)),
        };
        Problem::Value { name: name.to_owned(), reason }
    }

    /// Removes the values of secret options from `text`.
    fn scrub(&self, text: &str) -> String {
        let secrets = self.client.iter().filter(|(name, value)| secret::is_secret(name) && !value.is_empty());
        secrets.fold(text.to_owned(), |text, (_, value)| text.replace(value.as_str(), "…"))
    }
}
