//! Who takes part in a flow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Definition;

/// The services of a flow, by what they do in it, as far as the app knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participants {
    /// The service that keeps the instances.
    pub tracker: Option<String>,
    /// The service that does a step, or the abort, by the step's name.
    pub done_by: BTreeMap<String, String>,
    /// The service that undoes a step, by the step's name.
    pub undone_by: BTreeMap<String, String>,
}

/// A flow and who takes part in it: what pictures are drawn of, and what the tracker keeps for whoever reads its database
/// without the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chart {
    /// The flow.
    pub definition: Definition,
    /// Who takes part.
    pub participants: Participants,
}

impl Chart {
    /// The flow without a word about who takes part.
    pub fn of(definition: Definition) -> Self {
        Self { definition, participants: Participants::default() }
    }
}
