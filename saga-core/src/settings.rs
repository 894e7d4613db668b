//! The limits of the runtime, by name, with their defaults.
//!
//! A configuration contains only the settings that it changes. An unknown name is an error.
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

/// The limits of a service. Each queue, wait and batch of the runtime is bounded by one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// The largest value of a record, in bytes. A larger one that is received becomes a dead letter; publishing one fails. Default: 1 MiB.
    pub max_record_bytes: usize,
    /// The number of transactions for deliveries that run at the same time.
    ///
    /// More than the default gains nothing with a single writer (SQLite). Default: 4.
    pub lanes: usize,
    /// The most messages in one transaction. Default: 256.
    pub batch_messages: usize,
    /// The target duration of a transaction with many messages, in milliseconds. Batches shrink to stay within it. Default: 100.
    pub batch_ms: u64,
    /// The most unfinished messages that a service holds in memory. Beyond it, partitions are paused. Default: 2,048.
    pub queue_messages: usize,
    /// The most bytes of unfinished messages that a service holds in memory. Beyond it, partitions are paused. Default: 16 MiB.
    pub queue_bytes: usize,
    /// The number of handlers with [`Work`](crate::extract::Work) that run at the same time.
    ///
    /// They hold no transaction during their call. Default: 64.
    pub concurrency: usize,
    /// The number of parked messages of one key beyond which the key's partition is paused. Default: 1,000.
    pub parked_per_key: usize,
    /// The number of parked keys beyond which all partitions are paused, until half of them are no longer parked. Default: 50,000.
    pub parked_keys: usize,
    /// The number of rows in the outbox beyond which publishing returns *unavailable* and consumption pauses. Default: 10,000.
    pub outbox_rows: usize,
    /// How long an inbox row is kept, in days.
    ///
    /// An older message that is delivered again is not recognised as a duplicate, so this should exceed the age of the oldest record that a
    /// replay reads. Default: 14.
    pub inbox_retention_days: u32,
    /// How long an open dead letter is kept, in days; 0 for no limit.
    ///
    /// It is then removed with a warning, and counted. A dead letter that holds its key (`on_dead = "hold"`) is not removed. Default: 90.
    pub dead_letter_retention_days: u32,
    /// How long a dead letter is kept after it was retried, replayed or discarded, in days; 0 for no limit. Default: 7.
    pub settled_letter_retention_days: u32,
    /// How long the service waits to begin a transaction, in milliseconds. Default: 4,000.
    pub begin_timeout_ms: u64,
    /// How long an HTTP handler can take before the request is answered with 503, in milliseconds. Default: 4,800.
    pub answer_timeout_ms: u64,
    /// How long a stop can take, in milliseconds. Running work can use four fifths of it; the rest is for aborting what is left, and for
    /// closing. Default: 10,000.
    pub stop_timeout_ms: u64,
    /// The number of partitions of topics that the app creates. Default: 6.
    pub topic_partitions: u32,
    /// The time after which a partition that has records but delivers none makes the service not ready, in seconds. Default: 30.
    pub stall_warning_s: u64,
    /// How long a message can be put off without counted attempts, in seconds since this service first saw it.
    ///
    /// A message is put off after [`Failure::Later`](crate::failure::Failure::Later), while the database does not commit its transaction,
    /// and while an earlier attempt of its step might still run. After this time, each time it is put off counts as a failed attempt.
    /// Default: 86,400, one day.
    pub put_off_limit_s: u64,
    /// How long records must stay in the log while no consumer reads them, in hours.
    ///
    /// A topic with a shorter retention causes a warning. Default: 24.
    pub outage_hours: u32,
    /// What the service does when the log has removed records that it has not read. Default: `"stop"`.
    pub on_gap: OnGap,
    /// What the service does with a record of a newer event version than the program knows. Default: `"dead_letter"`.
    pub on_newer: OnNewer,
    /// The events that this service handled earlier and does not handle any longer.
    ///
    /// Records of these events are skipped; without an entry here they become dead letters, because the handler might have been removed or
    /// renamed by mistake. The entries are `"Placed"` (on every topic), `"orders/Placed"` (on one topic) or `"orders/*"` (all events of a
    /// topic), with the name of the topic in the code or in the log. Default: none.
    pub forget_events: Vec<String>,
}

/// What the service does when records that it has not read are missing: retention removed them, or the topic was recreated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnGap {
    /// The partition waits, the service is not ready, and its health names the partition and the missing records.
    #[default]
    Stop,
    /// The partition continues with the oldest record that exists, and the missing records are counted.
    Oldest,
}

/// What the service does with a record of a newer event version than the program knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnNewer {
    /// The record becomes a dead letter, and later messages of its key are handled.
    #[default]
    DeadLetter,
    /// The key waits for a program that can read the record, for [`Settings::put_off_limit_s`] at most. Other keys continue.
    Wait,
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
            on_newer: OnNewer::default(),
            forget_events: Vec::new(),
        }
    }
}

impl Settings {
    /// Returns whether [`forget_events`](Self::forget_events) contains the event `event` of `topic`, which is called `in_log` in the log.
    pub(crate) fn forgets(&self, topic: &str, in_log: &str, event: &str) -> bool {
        self.forget_events.iter().any(|entry| forgets(entry, topic, in_log, event))
    }

    /// Returns [`Settings::batch_ms`] as a duration.
    pub fn batch_time(&self) -> Duration {
        Duration::from_millis(self.batch_ms)
    }

    /// Returns [`Settings::begin_timeout_ms`] as a duration.
    pub fn begin_timeout(&self) -> Duration {
        Duration::from_millis(self.begin_timeout_ms)
    }

    /// Returns [`Settings::answer_timeout_ms`] as a duration.
    pub fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.answer_timeout_ms)
    }

    /// Returns [`Settings::stop_timeout_ms`] as a duration.
    pub fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.stop_timeout_ms)
    }

    /// Returns [`Settings::stall_warning_s`] as a duration.
    pub fn stall_warning(&self) -> Duration {
        Duration::from_secs(self.stall_warning_s)
    }

    /// Returns [`Settings::put_off_limit_s`] as a duration.
    pub fn put_off_limit(&self) -> Duration {
        Duration::from_secs(self.put_off_limit_s)
    }

    /// Returns [`Settings::outage_hours`] as a duration.
    pub fn outage(&self) -> Duration {
        Duration::from_secs(u64::from(self.outage_hours) * 3_600)
    }

    /// Returns [`Settings::inbox_retention_days`] as a duration.
    pub fn inbox_retention(&self) -> Duration {
        days(self.inbox_retention_days)
    }

    /// Returns [`Settings::dead_letter_retention_days`] as a duration; `None` for no limit.
    pub fn dead_letter_retention(&self) -> Option<Duration> {
        (self.dead_letter_retention_days > 0).then(|| days(self.dead_letter_retention_days))
    }

    /// Returns [`Settings::settled_letter_retention_days`] as a duration; `None` for no limit.
    pub fn settled_letter_retention(&self) -> Option<Duration> {
        (self.settled_letter_retention_days > 0).then(|| days(self.settled_letter_retention_days))
    }
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

/// Returns whether `entry` of [`Settings::forget_events`] names the event `event` of `topic`, which is called `in_log` in the log.
pub(crate) fn forgets(entry: &str, topic: &str, in_log: &str, event: &str) -> bool {
    let of_topic = |topic: &str| {
        let name = entry.strip_prefix(topic).and_then(|rest| rest.strip_prefix('/'));
        name.is_some_and(|name| name == event || name == "*")
    };
    entry == event || of_topic(topic) || of_topic(in_log)
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn an_event_is_forgotten_on_every_topic_or_on_one() {
        for (named, topic, event, forgotten) in [
            ("Placed", "orders", "Placed", true),
            ("Placed", "bills", "Placed", true),
            ("Placed", "orders", "PlacedAgain", false),
            ("orders/Placed", "orders", "Placed", true),
            ("prod.orders/Placed", "orders", "Placed", true),
            ("orders/Placed", "bills", "Placed", false),
            ("orders/Placed", "orders", "Changed", false),
            ("orders/*", "orders", "Changed", true),
            ("orders/*", "bills", "Changed", false),
            ("order/Placed", "orders", "Placed", false),
            ("shop/Placed", "orders", "shop/Placed", true),
            ("orders/shop/Placed", "orders", "shop/Placed", true),
            ("orders/", "orders", "Placed", false),
        ] {
            let settings = Settings { forget_events: vec![named.to_owned()], ..Settings::default() };
            assert_eq!(settings.forgets(topic, &format!("prod.{topic}"), event), forgotten, "{named}: {topic}, {event}");
        }
        assert!(!Settings::default().forgets("orders", "orders", "Placed"));
    }
}
