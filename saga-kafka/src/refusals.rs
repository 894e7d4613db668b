//! Brokers that refuse a client of this process, while other brokers may work.
//!
//! A connection is identified by the name that the client gives it: `sasl_ssl://host:9093/2`, or `GroupCoordinator`. The client
//! retries indefinitely, and reports the same error at most every half minute.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::group_topic::GroupTopic;

/// How long a connection counts as refused after its last error: longer than the client suppresses a repeated error.
const HEARD: Duration = Duration::from_secs(45);

/// A client: a member of a group, or the producer (`None`).
type Of = Option<GroupTopic>;

#[derive(Debug)]
struct Refusal {
    address: String,
    detail: String,
    heard: Instant,
}

/// The refused connections.
#[derive(Debug, Default)]
pub(crate) struct Refusals(BTreeMap<(Of, String), Refusal>);

impl Refusals {
    /// Records that a client was refused; `reason` is the client's description. Returns whether this is new.
    pub(crate) fn heard(&mut self, of: Option<&GroupTopic>, reason: &str, detail: String, now: Instant) -> bool {
        self.0.retain(|_, known| now.duration_since(known.heard) < HEARD);
        let (connection, address) = connection(reason);
        let key = (of.cloned(), connection.to_owned());
        self.0.insert(key, Refusal { address: address.to_owned(), detail, heard: now }).is_none()
    }

    /// Records that a connection of a client works.
    pub(crate) fn connected(&mut self, of: Option<&GroupTopic>, connection: &str) {
        self.0.retain(|(known, name), _| known.as_ref() != of || name != connection);
    }

    /// Removes the refused connections of `member`.
    pub(crate) fn forget(&mut self, member: &GroupTopic) {
        self.0.retain(|(of, _), _| of.as_ref() != Some(member));
    }

    /// The brokers that refuse a member of `group` or the producer: their addresses, and the errors.
    pub(crate) fn of(&self, group: &str, now: Instant) -> BTreeMap<&str, &str> {
        let concerns = |of: &Of| of.as_ref().is_none_or(|of| of.group == group);
        let current = self.0.iter().filter(|((of, _), known)| concerns(of) && now.duration_since(known.heard) < HEARD);
        current.map(|(_, known)| (&*known.address, &*known.detail)).collect()
    }
}

/// The name of a connection and the address of its broker, from the client's description of an error: `NAME: …`, or `NAME:
/// ADDRESS: …`.
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

    fn member(group: &str) -> GroupTopic {
        GroupTopic::new(group, "orders")
    }

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
        assert!(refusals.heard(Some(&member("order")), REASON, "why".into(), at(0)));
        for second in 0..120 {
            if second % 32 == 31 {
                assert!(!refusals.heard(Some(&member("order")), REASON, "why".into(), at(second)), "at {second} s");
            }
            assert_eq!(refusals.of("order", at(second)), BTreeMap::from([("kafka-2:9093", "why")]), "at {second} s");
        }
        assert!(refusals.of("order", at(180)).is_empty());
        assert!(refusals.heard(Some(&member("order")), REASON, "why".into(), at(181)), "it begins anew");
    }

    #[test]
    fn it_ends_for_the_client_whose_connection_works() {
        let (mut refusals, now) = (Refusals::default(), now());
        let told = |refusals: &Refusals, group| refusals.of(group, now).len();
        refusals.heard(Some(&member("order")), REASON, String::new(), now);
        refusals.heard(Some(&member("payment")), REASON, String::new(), now);
        refusals.heard(None, REASON, String::new(), now);
        refusals.connected(Some(&member("order")), "sasl_ssl://kafka-2:9093/2");
        refusals.connected(Some(&member("payment")), "sasl_ssl://kafka-2:9093/bootstrap");
        assert_eq!((told(&refusals, "order"), told(&refusals, "payment")), (1, 1), "the producer's is everybody's");
        refusals.connected(None, "sasl_ssl://kafka-2:9093/2");
        assert_eq!((told(&refusals, "order"), told(&refusals, "payment")), (0, 1));
        refusals.forget(&member("payment"));
        assert_eq!(told(&refusals, "payment"), 0);
    }
}
