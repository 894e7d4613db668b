//! What the members of groups know to be wrong, until it is over.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use saga_core::transport::Condition;

/// A group is not joined, or not kept.
pub(crate) const GROUP_REFUSED: &str = "group_refused";
/// A topic may not be read.
pub(crate) const NOT_AUTHORIZED: &str = "not_authorized";
/// Records of a partition cannot be read.
pub(crate) const RECORDS_UNREADABLE: &str = "records_unreadable";

type Key = (&'static str, String);

/// The troubles of all groups of this process.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<String, BTreeMap<Key, String>>>);

impl Troubles {
    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<Key, String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn raise(&self, group: &str, name: &'static str, subject: &str, detail: String) {
        self.groups().entry(group.to_owned()).or_default().insert((name, subject.to_owned()), detail);
    }

    pub(crate) fn clear(&self, group: &str, name: &'static str, subject: &str) {
        if let Some(of_group) = self.groups().get_mut(group) {
            of_group.remove(&(name, subject.to_owned()));
        }
    }

    /// Clears what is of this name and of no subject that `stays`.
    pub(crate) fn keep(&self, group: &str, name: &'static str, stays: impl Fn(&str) -> bool) {
        if let Some(of_group) = self.groups().get_mut(group) {
            of_group.retain(|(known, subject), _| *known != name || stays(subject));
        }
    }

    /// Whether the group has one of this name.
    pub(crate) fn has(&self, group: &str, name: &'static str) -> bool {
        self.groups().get(group).is_some_and(|of_group| of_group.keys().any(|(known, _)| *known == name))
    }

    pub(crate) fn forget(&self, group: &str) {
        self.groups().remove(group);
    }

    pub(crate) fn of(&self, group: &str) -> Vec<Condition> {
        let groups = self.groups();
        let condition = |((name, subject), detail): (&Key, &String)| Condition {
            name,
            subject: subject.clone(),
            critical: true,
            detail: detail.clone(),
        };
        groups.get(group).into_iter().flatten().map(condition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_its_own() {
        let troubles = Troubles::default();
        troubles.raise("order", RECORDS_UNREADABLE, "orders-0", "zstd".into());
        troubles.raise("order", RECORDS_UNREADABLE, "orders-1", "zstd".into());
        troubles.raise("order", NOT_AUTHORIZED, "orders", "Read".into());
        troubles.raise("billing", GROUP_REFUSED, "billing", "Read".into());
        troubles.keep("order", RECORDS_UNREADABLE, |subject| subject == "orders-1");
        let subjects: Vec<_> = troubles.of("order").into_iter().map(|condition| condition.subject).collect();
        assert_eq!(subjects, ["orders", "orders-1"]);
        troubles.clear("order", RECORDS_UNREADABLE, "orders-1");
        assert!(!troubles.has("order", RECORDS_UNREADABLE) && troubles.has("order", NOT_AUTHORIZED));
        troubles.forget("order");
        assert_eq!((troubles.of("order").len(), troubles.of("billing").len()), (0, 1));
    }
}
