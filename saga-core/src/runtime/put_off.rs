//! Messages that are put off without a counted attempt: repeated warnings for each, and a condition and a metric for the oldest.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{conditions::Severity, core::Core, item::Item};
use crate::{engine::parking::TopicKey, time::Timestamp};

/// The condition that messages have been put off for a long time.
const MESSAGES_PUT_OFF: &str = "messages_put_off";
/// How long the oldest message must have been put off for the condition to hold.
const LONG: Duration = Duration::from_secs(600);
/// The times after which a put-off message is logged, each once.
const TOLD: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(24 * 3_600),
];

/// A message that is put off.
#[derive(Debug, Clone)]
pub(crate) struct Postponed {
    id: String,
    seen: Timestamp,
    why: String,
    /// The number of warnings that were logged.
    told: usize,
}

/// The messages that are put off, the first one of each key, as far as this process has tried them.
#[derive(Debug, Default)]
pub(crate) struct PutOff {
    messages: Mutex<HashMap<TopicKey, Postponed>>,
    any: AtomicBool,
}

impl PutOff {
    fn messages(&self) -> MutexGuard<'_, HashMap<TopicKey, Postponed>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the message of `place` is put off, and logs it if a warning is due.
    pub(crate) fn note(&self, core: &Core, place: TopicKey, mut postponed: Postponed, now: Timestamp) {
        let waited = now.since(postponed.seen);
        let mut messages = self.messages();
        self.any.store(true, Ordering::Relaxed);
        let before = messages.get(&place).filter(|known| known.id == postponed.id).map_or(0, |known| known.told);
        let due = TOLD.iter().filter(|after| waited >= **after).count();
        postponed.told = due.max(before);
        if due > before {
            tracing::warn!(
                service = &*core.name,
                topic = &*core.name_in_log(&place.topic),
                key = &*String::from_utf8_lossy(&place.key),
                message_id = postponed.id,
                waited_seconds = waited.as_secs(),
                limit_seconds = core.settings.put_off_limit_s,
                error = postponed.why,
                "a message is put off again and again; no attempt is counted before the limit (setting `put_off_limit_s`)"
            );
        }
        messages.insert(place, postponed);
    }

    /// Records that the first message of `place` is done, or has failed with a counted attempt.
    pub(crate) fn forget(&self, place: &TopicKey) {
        if self.any.load(Ordering::Relaxed) {
            self.messages().remove(place);
        }
    }

    /// Updates the metric for the oldest put-off message, and the condition.
    pub(crate) fn measure(&self, core: &Core) {
        let now = core.clock.now();
        let mut messages = self.messages();
        {
            let parked = core.parked();
            messages.retain(|place, _| parked.is_parked(place));
        }
        self.any.store(!messages.is_empty(), Ordering::Relaxed);
        let oldest = messages.iter().min_by_key(|(place, message)| (message.seen, (*place).clone()));
        let waited = oldest.map_or(Duration::ZERO, |(_, message)| now.since(message.seen));
        core.series.put_off_oldest.set(waited.as_secs_f64());
        match oldest.filter(|_| waited >= LONG) {
            Some((place, message)) => {
                let detail = format!(
                    "{} messages are put off without an attempt being counted, the oldest for {} s: `{}` of `{}`, because of: {}; it fails \
                     after {} s (setting `put_off_limit_s`)",
                    messages.len(),
                    waited.as_secs(),
                    message.id,
                    place.topic,
                    message.why,
                    core.settings.put_off_limit_s
                );
                core.conditions.raise(MESSAGES_PUT_OFF, "", Severity::Warning, detail, now);
            }
            None => core.conditions.clear(MESSAGES_PUT_OFF, "", now),
        }
    }
}

impl Postponed {
    pub(crate) fn of(item: &Item, why: &str) -> Self {
        Self { id: item.envelope.id.to_string(), seen: item.seen, why: why.to_owned(), told: 0 }
    }
}
