//! The identities of topics: whether a topic was deleted and created again, so that known offsets are no longer valid.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The identities of topics, as far as they are known.
///
/// The brokers learn of a recreated topic one after another. So an identity that a topic had earlier comes from a broker with old metadata
/// and is ignored.
#[derive(Debug, Default)]
pub struct Identities {
    known: BTreeMap<String, Arc<str>>,
    former: BTreeMap<String, BTreeSet<Arc<str>>>,
}

impl Identities {
    /// Records that a broker reported `identity` for `topic`. Returns whether this changed what is known.
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

    /// Returns the identity of `topic`, if it is known.
    pub fn of(&self, topic: &str) -> Option<&Arc<str>> {
        self.known.get(topic)
    }
}

/// What the identity of a topic means for a known position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The position is valid, or nothing is known.
    Stands,
    /// The identity that belongs to the position was unknown. It is assumed to be the present one.
    Learned,
    /// The position belongs to a topic that was deleted. The topic was recreated.
    Recreated,
}

/// Compares the identity `of` a position with the identity that the topic has `now`. `read`: whether there is a position at all.
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
