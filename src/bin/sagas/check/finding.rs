//! A finding of `sagas check`.

use serde::Serialize;

/// Something that needs an operator, and what to do about it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// The service that has it in its database.
    pub(super) service: String,
    /// The saga, if it concerns one.
    pub(super) saga: Option<String>,
    /// The instance, if it concerns one.
    pub(super) saga_id: Option<String>,
    /// What is wrong.
    pub(super) what: String,
    /// What to do.
    pub(super) fix: String,
}

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    /// Open instances have a version without a known definition.
    UnknownVersion,
    /// An instance needs attention.
    Attention,
    /// An undecided instance is past its deadline.
    Overdue,
    /// An instance has events that its saga does not allow.
    NotAllowed,
    /// There are open dead letters.
    DeadLetter,
    /// An attempt of a step began and has not ended long after its time limit.
    Lapsed,
}

impl Finding {
    /// The finding as text.
    pub(super) fn said(&self) -> String {
        let id = self.saga_id.as_deref().map(|id| format!(" {id}")).unwrap_or_default();
        let saga = self.saga.as_deref().map(|saga| format!("{saga}{id}: ")).unwrap_or_default();
        format!("{}: {saga}{}", self.service, self.what)
    }
}
