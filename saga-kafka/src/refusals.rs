//! Brokers that refuse a client of this process, while others may do the work.
//!
//! Each connection of a client is known by the name that the client gives it: `sasl_ssl://host:9093/2`, or `GroupCoordinator`. The client
//! tries again for ever, and says the same again at most every half minute.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a connection of which nothing more is heard counts as refused: longer than the client keeps quiet of the same error.
const HEARD: Duration = Duration::from_secs(45);

/// A client: the member of a group, or the producer.
type Of = Option<String>;

#[derive(Debug)]
struct Refusal {
    address: String,
    detail: String,
    heard: Instant,
}

/// The connections that are refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals(BTreeMap<(Of, String), Refusal>);

impl Refusals {
    /// A client was refused; `reason` is what it said. Says whether that is new.
    pub(crate) fn heard(&mut self, group: Option<&str>, reason: &str, detail: String, now: Instant) -> bool {
        self.0.retain(|_, known| now.duration_since(known.heard) < HEARD);
        let (connection, address) = connection(reason);
        let key = (group.map(ToOwned::to_owned), connection.to_owned());
        self.0.insert(key, Refusal { address: address.to_owned(), detail, heard: now }).is_none()
    }

    /// A connection of a client works.
    pub(crate) fn connected(&mut self, group: Option<&str>, connection: &str) {
        self.0.retain(|(of, known), _| of.as_deref() != group || known != connection);
    }

    /// Nothing is known of the member of `group` any more.
    pub(crate) fn forget(&mut self, group: &str) {
        self.0.retain(|(of, _), _| of.as_deref() != Some(group));
    }

    /// The brokers that refuse the member of `group` or the producer, by address, and what they said.
    pub(crate) fn of(&self, group: &str, now: Instant) -> BTreeMap<&str, &str> {
        let concerns = |of: &Of| of.as_deref().is_none_or(|of| of == group);
        let current = self.0.iter().filter(|((of, _), known)| concerns(of) && now.duration_since(known.heard) < HEARD);
        current.map(|(_, known)| (&*known.address, &*known.detail)).collect()
    }
}

/// The name of a connection and the address of its broker, in what a client says of an error: `NAME: …`, or `NAME: ADDRESS: …`.
fn connection(reason: &str) -> (&str, &str) {
    let (name, rest) = reason.split_once(": ").unwrap_or((reason, ""));
    let address = name.split_once("://").map_or(name, |(_, address)| address);
    let address = address.rsplit_once('/').map_or(address, |(address, _)| address);
    match rest.split_once(": ") {
        Some((of_group, _)) if !address.contains(':') && of_group.contains(':') => (name, of_group),
        _ => (name, address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    const REASON: &str = "sasl_ssl://kafka-2:9093/2: SASL authentication error: refused (after 3ms in state AUTH_REQ)";

    #[test]
    fn a_connection_is_known_by_its_name_and_shown_by_its_address() {
        for (reason, name, address) in [
            (REASON, "sasl_ssl://kafka-2:9093/2", "kafka-2:9093"),
            ("ssl://[::1]:9093/bootstrap: SSL handshake failed: x", "ssl://[::1]:9093/bootstrap", "[::1]:9093"),
            ("kafka-1:9092/1: failed", "kafka-1:9092/1", "kafka-1:9092"),
            ("GroupCoordinator: kafka-3:9093: SASL authentication error: x", "GroupCoordinator", "kafka-3:9093"),
            ("GroupCoordinator: SASL: x", "GroupCoordinator", "GroupCoordinator"),
            ("refused", "refused", "refused"),
            ("", "", ""),
        ] {
            assert_eq!(connection(reason), (name, address), "{reason}");
        }
    }

    #[test]
    fn errors_that_come_again_are_one_refusal_until_nothing_is_heard_of_it() {
        let (mut refusals, start) = (Refusals::default(), now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(refusals.heard(Some("order"), REASON, "why".into(), at(0)));
        for second in 0..120 {
            if second % 32 == 31 {
                assert!(!refusals.heard(Some("order"), REASON, "why".into(), at(second)), "at {second} s");
            }
            assert_eq!(refusals.of("order", at(second)), BTreeMap::from([("kafka-2:9093", "why")]), "at {second} s");
        }
        assert!(refusals.of("order", at(180)).is_empty());
        assert!(refusals.heard(Some("order"), REASON, "why".into(), at(181)), "it begins anew");
    }

    #[test]
    fn it_ends_for_the_client_whose_connection_works() {
        let (mut refusals, now) = (Refusals::default(), now());
        let told = |refusals: &Refusals, group| refusals.of(group, now).len();
        refusals.heard(Some("order"), REASON, String::new(), now);
        refusals.heard(Some("payment"), REASON, String::new(), now);
        refusals.heard(None, REASON, String::new(), now);
        refusals.connected(Some("order"), "sasl_ssl://kafka-2:9093/2");
        refusals.connected(Some("payment"), "sasl_ssl://kafka-2:9093/bootstrap");
        assert_eq!((told(&refusals, "order"), told(&refusals, "payment")), (1, 1), "the producer's is everybody's");
        refusals.connected(None, "sasl_ssl://kafka-2:9093/2");
        assert_eq!((told(&refusals, "order"), told(&refusals, "payment")), (0, 1));
        refusals.forget("payment");
        assert_eq!(told(&refusals, "payment"), 0);
    }
}
