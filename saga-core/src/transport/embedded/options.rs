//! The settings of the embedded log.

use std::time::Duration;

use crate::time::Clock;

/// The upper limit of `max_record_bytes`. Records are copied several times on their way through SQLite, whose own limit is 1 GB.
pub(super) const MAX_RECORD_BYTES: usize = 512 << 20;

/// The settings of an embedded log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedOptions {
    /// The size of the largest record, in bytes of key, value and headers. Larger records are rejected. At most 512 MiB. Default: 64 MiB.
    pub max_record_bytes: usize,
    /// The used size of the file, in bytes, above which retention removes the oldest records that every registered group has read. Default:
    /// 1 GiB.
    pub retention_bytes: u64,
    /// How long records are kept after they were stored, unless a registered group has not read them. `None`: without a limit. Default: 7
    /// days.
    pub retention_age: Option<Duration>,
    /// The interval at which retention checks the age of records when little is published. Default: 10 minutes.
    pub retention_interval: Duration,
    /// The maximum size of the file, in bytes, including records that are not read yet. Beyond it, publishing fails with
    /// [`TransportError::Unavailable`](crate::transport::TransportError::Unavailable) until there is room again. It should be larger than
    /// `retention_bytes`. `None`: limited only by the disk. Default: `None`.
    pub max_file_bytes: Option<u64>,
    /// The size of the newest records of each partition that are kept in memory, in bytes, so that readers at the end of the log do not
    /// read the file. Default: 1 MiB.
    pub tail_bytes: usize,
    /// The size of SQLite's write-ahead log (`log.db-wal`), in bytes, above which the writer pauses occasionally until the readers have
    /// moved on, so that SQLite can truncate it. Default: 64 MiB.
    pub write_ahead_log_bytes: u64,
    /// The number of connections that read the file. Default: 4.
    pub readers: u32,
    /// The clock of the log.
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
