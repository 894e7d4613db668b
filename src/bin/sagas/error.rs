//! The errors of the program.

use sagas::store::StoreError;

/// An error of the program. Each text states what is wrong, where, and what to do; none contains a password.
#[derive(Debug)]
pub(crate) enum CliError {
    /// Flags or a URL that cannot be used.
    Usage(String),
    /// Anything else.
    Failed(String),
    /// A program has opened the database while it was being read. The command can be repeated.
    Disturbed(String),
}

impl CliError {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) | Self::Disturbed(_) => 1,
        }
    }

    /// The error of a database that could not be opened. A `Refused` error is about its URL.
    pub(crate) fn opening(error: StoreError) -> Self {
        match error {
            StoreError::Refused(reason) => Self::Usage(format!("--database: {reason}")),
            error => error.into(),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Contended(_) => Self::Disturbed(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Usage(text) | Self::Failed(text) | Self::Disturbed(text)) = self;
        f.write_str(text)
    }
}
