//! How a file is read by a program that is not to change anything.
//!
//! In WAL mode SQLite keeps two files beside the database, makes them for whoever only reads too, and then leaves them there, owned
//! by whoever read. So a file that nobody has open is read as one that nobody changes: without locks, and without those files. That
//! somebody has opened it meanwhile is seen afterwards.

use std::{io, path::Path, time::SystemTime};

use crate::sqlite::write_ahead_log;

/// How a file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// As it lies: nobody has it open.
    AtRest {
        /// When it was written last.
        modified: SystemTime,
        /// How long it is.
        length: u64,
    },
    /// Beside others who have it open, or after one who was killed: with their log, and their locks.
    Shared,
}

impl Reading {
    /// How the database in `file` is to be read.
    pub(super) async fn of(file: &Path) -> io::Result<Self> {
        let found = tokio::fs::metadata(file).await?;
        Ok(match tokio::fs::try_exists(write_ahead_log(file)).await? {
            true => Self::Shared,
            false => Self::AtRest { modified: found.modified()?, length: found.len() },
        })
    }

    /// Whether somebody has opened `file` since, which was thought to be at rest.
    pub(super) async fn was_disturbed(&self, file: &Path) -> bool {
        matches!(self, Self::AtRest { .. }) && Self::of(file).await.ok().as_ref() != Some(self)
    }
}
