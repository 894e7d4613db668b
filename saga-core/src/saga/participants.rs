//! The participants of a saga.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Definition;

/// The services that take part in a saga, as far as the app knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participants {
    /// The service that tracks the instances.
    pub tracker: Option<String>,
    /// The service that does a step, or the abort, by the name of the step.
    pub done_by: BTreeMap<String, String>,
    /// The service with the compensation of a step, by the name of the step.
    pub undone_by: BTreeMap<String, String>,
}

/// A saga and its participants.
///
/// Diagrams are drawn from it, and the tracker stores it for programs that read its database without the definition in their code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chart {
    /// The definition of the saga.
    pub definition: Definition,
    /// The participants of the saga.
    pub participants: Participants,
}

impl Chart {
    /// Creates a chart without participants.
    pub fn of(definition: Definition) -> Self {
        Self { definition, participants: Participants::default() }
    }
}
