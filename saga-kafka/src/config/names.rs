//! The names of options. The client library decides which names exist; no list is kept here.

use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaConfRes};

use super::options;

/// Options with two names: an alias from librdkafka or an older Kafka, and the canonical name used here. Two names of one option
/// must not reach the client together, because it takes the one that is set last.
const ALIASES: &[(&str, &str)] = &[
    ("compression.codec", "compression.type"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// Whether the client knows an option of this name.
pub(crate) fn is_known(name: &str) -> bool {
    match ClientConfig::new().set(name, "").create_native_config() {
        Ok(_) => true,
        // Every other answer of the client is about the value.
        Err(KafkaError::ClientConfig(answer, ..)) => answer != RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN,
        Err(_) => false,
    }
}

/// The canonical name of an option.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

/// The name of an option that `name` is probably a misspelling of: one that differs in one character, in the separators, in case,
/// or by a missing unit.
pub(super) fn nearest(name: &str) -> Option<String> {
    let meant = name.to_ascii_lowercase().replace(['_', '-'], ".");
    // `session.timeout` only lacks the unit.
    let whole = [meant.clone(), format!("{meant}.ms")];
    let exists = |name: &String| options::OWN.contains(&name.as_str()) || is_known(name);
    whole.into_iter().chain(edits(&meant)).find(exists)
}

/// The texts that differ from `text` in one character: one is removed, inserted or replaced.
fn edits(text: &str) -> impl Iterator<Item = String> {
    let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    places.flat_map(move |at| {
        let (before, after) = text.split_at(at);
        let mut rest = after.chars();
        let removed = rest.next().map(|_| format!("{before}{}", rest.as_str()));
        let letters = ('a'..='z').chain(['.']);
        let with_letter = letters.flat_map(move |letter| {
            let replaced = after.chars().next().map(|first| format!("{before}{letter}{}", &after[first.len_utf8()..]));
            [Some(format!("{before}{letter}{after}")), replaced].into_iter().flatten()
        });
        removed.into_iter().chain(with_letter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_knows_both_names_of_an_option() {
        for (alias, name) in ALIASES {
            assert!(is_known(alias) && is_known(name), "{alias} {name}");
        }
    }

    #[test]
    fn the_client_is_asked_for_names() {
        for name in ["session.timeout.ms", "sasl.password", "ssl.key.pem", "compression.type", "acks", "log_level"] {
            assert!(is_known(name), "{name}");
        }
        for name in ["no.such.option", "sasl_password", "", "client\0id"] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn a_misspelt_name_is_near_the_right_one() {
        for (name, expected) in [
            ("sesion.timeout.ms", Some("session.timeout.ms")),
            ("session_timeout_ms", Some("session.timeout.ms")),
            ("session.timeout", Some("session.timeout.ms")),
            ("linger", Some("linger.ms")),
            ("SASL.Password", Some("sasl.password")),
            ("sasl.pasword", Some("sasl.password")),
            ("sasl.passw\u{f6}rd", Some("sasl.password")),
            ("plain", None),
            ("jaas", None),
            // The client knows this name, and refuses it with its reason.
            ("sasl.jaas.config", Some("sasl.jaas.config")),
            ("key.serializer", None),
            ("topic.replicatin", Some("topic.replication")),
        ] {
            assert_eq!(nearest(name).as_deref(), expected, "{name}");
        }
    }
}
