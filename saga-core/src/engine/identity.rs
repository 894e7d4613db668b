//! Which log a topic is, and whether it is still the one whose offsets are known.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The identities of topics, as far as they were told.
///
/// Brokers hear of a new topic one after the other: an identity that a topic had before is an answer of one that has not.
#[derive(Debug, Default)]
pub struct Identities {
    known: BTreeMap<String, Arc<str>>,
    former: BTreeMap<String, BTreeSet<Arc<str>>>,
}

impl Identities {
    /// Takes note that `topic` is the log `identity`; says whether that is news.
    pub fn told(&mut self, topic: &str, identity: &str) -> bool {
        if self.former.get(topic).is_some_and(|former| former.contains(identity)) {
            return false;
        }
        match self.known.get_mut(topic) {
            Some(known) if **known == *identity => false,
            Some(known) => {
                let before = std::mem::replace(known, identity.into());
                self.former.entry(topic.to_owned()).or_default().insert(before);
                true
            }
            None => self.known.insert(topic.to_owned(), identity.into()).is_none(),
        }
    }

    /// The log that `topic` is, if that is known.
    pub fn of(&self, topic: &str) -> Option<&Arc<str>> {
        self.known.get(topic)
    }
}

/// What the identity of a topic says of a position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is of this log, or nothing is known.
    Stands,
    /// Of which log it is was not known: it is taken to be of this one.
    Learned,
    /// It is of a log that is gone. The topic was made anew.
    Recreated,
}

/// What it says of a position that is known to be `of` a log, that the topic is `now` the other. `read`: there is a position at all.
pub fn compare(of: Option<&str>, now: Option<&str>, read: bool) -> Verdict {
    match (of, now) {
        (_, None) => Verdict::Stands,
        (None, Some(_)) => Verdict::Learned,
        (Some(of), Some(now)) if of == now => Verdict::Stands,
        (Some(_), Some(_)) => {
            if read {
                Verdict::Recreated
            } else {
                Verdict::Learned
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_late_is_not_believed() {
        let mut identities = Identities::default();
        for (told, news, known) in
            [("a", true, "a"), ("a", false, "a"), ("b", true, "b"), ("a", false, "b"), ("c", true, "c"), ("b", false, "c")]
        {
            assert_eq!((identities.told("orders", told), &**identities.of("orders").expect("known")), (news, known), "{told}");
        }
        assert!(identities.of("payments").is_none() && identities.told("payments", "a"), "each topic has its own");
    }

    #[test]
    fn positions_and_identities() {
        for (of, now, read, expected) in [
            (None, None, true, Verdict::Stands),
            (Some("a"), None, true, Verdict::Stands),
            (Some("a"), Some("a"), true, Verdict::Stands),
            (None, Some("a"), true, Verdict::Learned),
            (Some("a"), Some("b"), true, Verdict::Recreated),
            (Some("a"), Some("b"), false, Verdict::Learned),
        ] {
            assert_eq!(compare(of, now, read), expected, "{of:?} {now:?} {read}");
        }
    }
}
