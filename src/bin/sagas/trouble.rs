//! Why something was not done.

use sagas::store::StoreError;

/// Why something was not done. Each text says what is wrong, where, and what to do; none has a password in it.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Flags or a URL that cannot be used.
    Usage(String),
    /// Anything else.
    Failed(String),
    /// A program has opened the database while it was read: it works when it is done again.
    Disturbed(String),
}

impl Trouble {
    /// What the program ends with.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) | Self::Disturbed(_) => 1,
        }
    }

    /// Why a database could not be opened: what it refuses is its URL.
    pub(crate) fn opening(error: StoreError) -> Self {
        match error {
            StoreError::Refused(reason) => Self::Usage(format!("--database: {reason}")),
            error => error.into(),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Contended(_) => Self::Disturbed(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Usage(text) | Self::Failed(text) | Self::Disturbed(text)) = self;
        f.write_str(text)
    }
}
