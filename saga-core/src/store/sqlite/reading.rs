//! How a program reads a file that it must not change.
//!
//! In WAL mode, SQLite keeps two more files next to the database. It creates them for readers too, and leaves them behind with the reader
//! as their owner. A file that no program has open is therefore read as an immutable file, without locks and without these files. A check
//! after the read detects that a program has opened the file in the meantime.

use std::{io, path::Path, time::SystemTime};

use crate::sqlite::write_ahead_log;

/// How a file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// As an immutable file: no program has it open.
    AtRest {
        /// When the file was last written.
        modified: SystemTime,
        /// The length of the file.
        length: u64,
    },
    /// With SQLite's log and locks: other programs have the file open, or a program was killed while it had it open.
    Shared,
}

impl Reading {
    /// Determines how to read the database in `file`.
    pub(super) async fn of(file: &Path) -> io::Result<Self> {
        let found = tokio::fs::metadata(file).await?;
        Ok(match tokio::fs::try_exists(write_ahead_log(file)).await? {
            true => Self::Shared,
            false => Self::AtRest { modified: found.modified()?, length: found.len() },
        })
    }

    /// Whether a program has opened `file` since, which was at rest before.
    pub(super) async fn was_disturbed(&self, file: &Path) -> bool {
        matches!(self, Self::AtRest { .. }) && Self::of(file).await.ok().as_ref() != Some(self)
    }
}
