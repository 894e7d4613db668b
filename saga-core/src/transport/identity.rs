//! The identity of a topic.

/// The identity of a topic. A topic that is deleted and created again keeps its name and gets another identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicIdentity {
    /// The topic.
    pub topic: String,
    /// The identity, or the reason why it cannot be determined, with what to do, in one sentence.
    pub log: Result<String, String>,
}
