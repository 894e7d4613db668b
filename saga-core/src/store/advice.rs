//! Problems that a working database reports.

/// A problem of a database that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The name of the condition: lower-case words joined by `_`.
    pub condition: &'static str,
    /// The setting, pool or file that has the problem.
    pub subject: String,
    /// Whether the service cannot work because of it.
    pub critical: bool,
    /// What is wrong, where, and how to correct it, in one sentence without secrets.
    pub detail: String,
}
