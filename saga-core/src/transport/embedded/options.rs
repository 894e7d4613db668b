//! The settings of the embedded log.

use std::time::Duration;

use crate::time::Clock;

/// Records this large are copied a few times on their way through SQLite, whose own limit is 1 GB.
pub(super) const MAX_RECORD_BYTES: usize = 512 << 20;

/// The limits of an embedded log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedOptions {
    /// The largest record, in bytes of key, value and headers; a larger one is refused. At most 512 MiB. 64 MiB.
    pub max_record_bytes: usize,
    /// Bytes of the file in use beyond which the oldest records go that every registered group has read. 1 GiB.
    pub retention_bytes: u64,
    /// How long records are kept that every registered group has read; `None` is for ever. 7 days.
    pub retention_age: Option<Duration>,
    /// How often age is looked at when little is published. 10 minutes.
    pub retention_interval: Duration,
    /// Bytes the file may grow to, read or not; beyond it publishing answers *unavailable* until there is room again. Give
    /// it more than `retention_bytes`. `None`: as large as the disk.
    pub max_file_bytes: Option<u64>,
    /// Bytes of the newest records of each partition that are held in memory, so that readers at the end of the log do
    /// not go to the file. 1 MiB.
    pub tail_bytes: usize,
    /// How large SQLite's write-ahead log (`log.db-wal`) may grow, in bytes, before the writer waits a moment, now and then, for those
    /// who read to move on, so that it can be begun again. 64 MiB.
    pub write_ahead_log_bytes: u64,
    /// Connections that read the file. 4.
    pub readers: u32,
    /// Where the time comes from.
    pub clock: Clock,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            max_record_bytes: 64 << 20,
            retention_bytes: 1 << 30,
            retention_age: Some(Duration::from_secs(7 * 86_400)),
            retention_interval: Duration::from_secs(600),
            max_file_bytes: None,
            tail_bytes: 1 << 20,
            write_ahead_log_bytes: 64 << 20,
            readers: 4,
            clock: Clock::system(),
        }
    }
}
