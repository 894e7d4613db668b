//! Something that somebody should see to.

use serde::Serialize;

/// Something that somebody should see to, and what to do about it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// Whose rows say so.
    pub(super) service: String,
    pub(super) saga: String,
    /// The instance, if it is one.
    pub(super) saga_id: Option<String>,
    /// What is wrong.
    pub(super) what: String,
    /// What to do.
    pub(super) fix: String,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    /// Open instances are of a version whose flow is not known.
    UnknownVersion,
    /// An instance needs attention.
    Attention,
    /// An instance is past its deadline, and undecided.
    Overdue,
    /// Events came that the flow does not allow.
    NotAllowed,
    /// A message of a flow was given up.
    DeadLetter,
    /// An attempt at a step was begun, and its time was over long ago.
    Lapsed,
}

impl Finding {
    /// What it is, for people.
    pub(super) fn said(&self) -> String {
        let id = self.saga_id.as_deref().map(|id| format!(" {id}")).unwrap_or_default();
        format!("{}: {}{id}: {}", self.service, self.saga, self.what)
    }
}
