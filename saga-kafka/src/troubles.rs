//! The current problems of the members of groups.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use saga_core::transport::Condition;

use crate::group_topic::GroupTopic;

/// The member cannot join its group, or was removed from it.
pub(crate) const GROUP_REFUSED: &str = "group_refused";
/// The user must not read a topic.
pub(crate) const NOT_AUTHORIZED: &str = "not_authorized";
/// Records of a partition cannot be read.
pub(crate) const RECORDS_UNREADABLE: &str = "records_unreadable";

type Key = (&'static str, String);

/// The problems of all members of groups in this process.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<GroupTopic, BTreeMap<Key, String>>>);

impl Troubles {
    fn members(&self) -> MutexGuard<'_, BTreeMap<GroupTopic, BTreeMap<Key, String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn raise(&self, member: &GroupTopic, name: &'static str, subject: &str, detail: String) {
        self.members().entry(member.clone()).or_default().insert((name, subject.to_owned()), detail);
    }

    pub(crate) fn clear(&self, member: &GroupTopic, name: &'static str, subject: &str) {
        if let Some(known) = self.members().get_mut(member) {
            known.remove(&(name, subject.to_owned()));
        }
    }

    /// Clears the problems with this name, unless `stays` returns true for their subject.
    pub(crate) fn keep(&self, member: &GroupTopic, name: &'static str, stays: impl Fn(&str) -> bool) {
        if let Some(known) = self.members().get_mut(member) {
            known.retain(|(known, subject), _| *known != name || stays(subject));
        }
    }

    /// Whether the member has a problem with this name.
    pub(crate) fn has(&self, member: &GroupTopic, name: &'static str) -> bool {
        self.members().get(member).is_some_and(|known| known.keys().any(|(known, _)| *known == name))
    }

    pub(crate) fn forget(&self, member: &GroupTopic) {
        self.members().remove(member);
    }

    /// The problems of the members of `group`, once for each subject. The details of several members, which differ by their
    /// topics, are joined.
    pub(crate) fn of(&self, group: &str) -> Vec<Condition> {
        let members = self.members();
        let mut found: BTreeMap<&Key, Vec<&str>> = BTreeMap::new();
        for (key, detail) in members.iter().filter(|(member, _)| member.group == group).flat_map(|(_, known)| known) {
            let details = found.entry(key).or_default();
            if !details.contains(&detail.as_str()) {
                details.push(detail);
            }
        }
        let condition = |((name, subject), details): (&Key, Vec<&str>)| Condition {
            name,
            subject: subject.clone(),
            critical: true,
            detail: details.join("; "),
        };
        found.into_iter().map(condition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_its_own_and_a_group_those_of_all() {
        let (troubles, orders) = (Troubles::default(), GroupTopic::new("order", "orders"));
        let (payments, billing) = (GroupTopic::new("order", "payments"), GroupTopic::new("billing", "orders"));
        troubles.raise(&orders, RECORDS_UNREADABLE, "orders-0", "zstd".into());
        troubles.raise(&orders, RECORDS_UNREADABLE, "orders-1", "zstd".into());
        troubles.raise(&payments, NOT_AUTHORIZED, "payments", "Read".into());
        troubles.raise(&billing, GROUP_REFUSED, "billing", "Read".into());
        troubles.keep(&orders, RECORDS_UNREADABLE, |subject| subject == "orders-1");
        let subjects = |group| troubles.of(group).into_iter().map(|condition| condition.subject).collect::<Vec<_>>();
        assert_eq!(subjects("order"), ["payments", "orders-1"]);
        troubles.clear(&orders, RECORDS_UNREADABLE, "orders-1");
        assert!(!troubles.has(&orders, RECORDS_UNREADABLE) && troubles.has(&payments, NOT_AUTHORIZED));
        troubles.forget(&payments);
        assert_eq!((subjects("order").len(), subjects("billing").len()), (0, 1));
    }

    #[test]
    fn what_several_members_have_is_one_until_the_last_has_it_no_more() {
        let (troubles, members) = (Troubles::default(), ["orders", "payments"].map(|topic| GroupTopic::new("order", topic)));
        for said in [|_: &str| "Read".to_owned(), |topic: &str| format!("`{topic}` is not read")] {
            for member in &members {
                troubles.raise(member, GROUP_REFUSED, "order", said(&member.topic));
            }
            let told = troubles.of("order");
            let same = said("orders") == said("payments");
            let expected = if same { said("orders") } else { "`orders` is not read; `payments` is not read".to_owned() };
            assert_eq!(told.iter().map(|told| told.detail.as_str()).collect::<Vec<_>>(), [expected]);
            for member in &members {
                assert_eq!(troubles.of("order").len(), 1);
                troubles.clear(member, GROUP_REFUSED, "order");
            }
            assert_eq!(troubles.of("order"), []);
        }
    }
}
