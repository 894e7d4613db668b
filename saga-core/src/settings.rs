//! Every limit of the runtime, by name, with its default.
//!
//! A configuration names those that it changes; a name that does not exist is an error.
//!
//! ```
//! use saga_core::settings::{OnGap, Settings};
//!
//! # fn main() -> Result<(), serde_json::Error> {
//! let settings: Settings = serde_json::from_str(r#"{"lanes": 8}"#)?;
//! assert_eq!((settings.lanes, settings.batch_messages), (8, 256));
//! assert!(serde_json::from_str::<Settings>(r#"{"lane": 8}"#).is_err());
//! assert_eq!(serde_json::from_str::<Settings>(r#"{"on_gap": "oldest"}"#)?.on_gap, OnGap::Oldest);
//!
//! let mut settings = Settings::default();
//! settings.stop_timeout_ms = 2_000;
//! assert_eq!(settings.stop_timeout().as_secs(), 2);
//! # Ok(()) }
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits of a service. Every queue, wait and batch of the runtime is bounded by one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// The largest value of a record, in bytes; a larger one is dead-lettered, and refused when published. 1 MiB.
    pub max_record_bytes: usize,
    /// Transactions that run side by side. One writer (SQLite) gains nothing from more than the default. 4.
    pub lanes: usize,
    /// The most messages in one transaction. 256.
    pub batch_messages: usize,
    /// How long a transaction of many messages should hold the database, in milliseconds: batches shrink to keep to it. 100.
    pub batch_ms: u64,
    /// Messages taken from the transport and not yet done, per service; beyond it the partitions pause. 2,048.
    pub queue_messages: usize,
    /// The same in bytes. 16 MiB.
    pub queue_bytes: usize,
    /// Handlers without a held transaction that run side by side. 64.
    pub concurrency: usize,
    /// Parked messages of one key beyond which its partition pauses. 1,000.
    pub parked_per_key: usize,
    /// Keys with parked messages beyond which all partitions pause, until half of them are free. 50,000.
    pub parked_keys: usize,
    /// Rows that wait in the outbox beyond which publishing answers *unavailable* and consumption pauses. 10,000.
    pub outbox_rows: usize,
    /// How long an inbox row is kept, in days: longer than the longest replay. 14.
    pub inbox_retention_days: u32,
    /// How long a dead letter that nobody settles is kept, in days; 0: for ever. It is removed with a warning and counted; one that
    /// holds its key (`on_dead = "hold"`) stays. 90.
    pub dead_letter_retention_days: u32,
    /// How long a dead letter is kept after it was retried, replayed or discarded, in days; 0: for ever. 7.
    pub settled_letter_retention_days: u32,
    /// How long beginning a transaction may wait, in milliseconds. 4,000.
    pub begin_timeout_ms: u64,
    /// How long an HTTP handler may take to answer before the request is answered 503, in milliseconds. 4,800.
    pub answer_timeout_ms: u64,
    /// How long a stop waits for what is running, in milliseconds. 10,000.
    pub stop_timeout_ms: u64,
    /// Partitions of a topic that the app creates. 6.
    pub topic_partitions: u32,
    /// After how long of giving nothing a partition that has records makes the service not ready, in seconds. 30.
    pub stall_warning_s: u64,
    /// For how long a message is put off without an attempt being counted, in seconds from when this service first saw it: after
    /// [`Failure::Later`](crate::failure::Failure::Later), while the database commits nothing of it, or while an attempt of its step may
    /// be running. What is put off after that is a failed attempt. 86,400, a day.
    pub put_off_limit_s: u64,
    /// For how long records have to stay in the log should every reader be away, in hours: topics that keep them for less are warned
    /// of. 24.
    pub outage_hours: u32,
    /// What is done where records that were not read yet are missing in the log. `"stop"`.
    pub on_gap: OnGap,
}

/// What is done where records that were not read yet are missing: retention removed them, or the topic was made anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnGap {
    /// The partition waits, the service is not ready, and its health names the partition and the records.
    #[default]
    Stop,
    /// It goes on from the oldest record there is, and counts what it passed over.
    Oldest,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_record_bytes: 1 << 20,
            lanes: 4,
            batch_messages: 256,
            batch_ms: 100,
            queue_messages: 2_048,
            queue_bytes: 16 << 20,
            concurrency: 64,
            parked_per_key: 1_000,
            parked_keys: 50_000,
            outbox_rows: 10_000,
            inbox_retention_days: 14,
            dead_letter_retention_days: 90,
            settled_letter_retention_days: 7,
            begin_timeout_ms: 4_000,
            answer_timeout_ms: 4_800,
            stop_timeout_ms: 10_000,
            topic_partitions: 6,
            stall_warning_s: 30,
            put_off_limit_s: 86_400,
            outage_hours: 24,
            on_gap: OnGap::default(),
        }
    }
}

impl Settings {
    /// [`Settings::batch_ms`] as a duration.
    pub fn batch_time(&self) -> Duration {
        Duration::from_millis(self.batch_ms)
    }

    /// [`Settings::begin_timeout_ms`] as a duration.
    pub fn begin_timeout(&self) -> Duration {
        Duration::from_millis(self.begin_timeout_ms)
    }

    /// [`Settings::answer_timeout_ms`] as a duration.
    pub fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.answer_timeout_ms)
    }

    /// [`Settings::stop_timeout_ms`] as a duration.
    pub fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.stop_timeout_ms)
    }

    /// [`Settings::stall_warning_s`] as a duration.
    pub fn stall_warning(&self) -> Duration {
        Duration::from_secs(self.stall_warning_s)
    }

    /// [`Settings::put_off_limit_s`] as a duration.
    pub fn put_off_limit(&self) -> Duration {
        Duration::from_secs(self.put_off_limit_s)
    }

    /// [`Settings::outage_hours`] as a duration.
    pub fn outage(&self) -> Duration {
        Duration::from_secs(u64::from(self.outage_hours) * 3_600)
    }

    /// [`Settings::inbox_retention_days`] as a duration.
    pub fn inbox_retention(&self) -> Duration {
        days(self.inbox_retention_days)
    }

    /// [`Settings::dead_letter_retention_days`] as a duration; `None`: for ever.
    pub fn dead_letter_retention(&self) -> Option<Duration> {
        (self.dead_letter_retention_days > 0).then(|| days(self.dead_letter_retention_days))
    }

    /// [`Settings::settled_letter_retention_days`] as a duration; `None`: for ever.
    pub fn settled_letter_retention(&self) -> Option<Duration> {
        (self.settled_letter_retention_days > 0).then(|| days(self.settled_letter_retention_days))
    }
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}
