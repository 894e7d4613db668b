//! Which log a topic is.

/// The identity of a topic: a topic that was deleted and created again has its name, and another identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicIdentity {
    /// The topic.
    pub topic: String,
    /// Its identity; or why that cannot be learned, with the fix, in a sentence.
    pub log: Result<String, String>,
}
