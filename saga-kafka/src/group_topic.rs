//! A group and a topic that it reads.

/// A topic as it is read in a group. A process has one member of the group for each topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupTopic {
    pub(crate) group: String,
    pub(crate) topic: String,
}

impl GroupTopic {
    pub(crate) fn new(group: &str, topic: &str) -> Self {
        Self { group: group.to_owned(), topic: topic.to_owned() }
    }
}
