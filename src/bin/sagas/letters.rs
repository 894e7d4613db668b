//! Dead letters of flows: messages of an instance that a participant gave up.

use sagas::{
    saga::Chart,
    store::{DeadLetter, DeadLetterId},
    time::Timestamp,
};
use serde::Serialize;

use super::{places::Service, trouble::Trouble};

/// Dead letters that are read at once: each has its message with it.
const PAGE: u32 = 100;

/// A dead letter, without its message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Letter {
    /// Who keeps it.
    pub(crate) service: String,
    /// Its identity there.
    pub(crate) id: String,
    /// The event's name.
    #[serde(rename = "type")]
    pub(crate) event: Option<String>,
    #[serde(skip)]
    topic: String,
    /// The key of the event.
    pub(crate) key: Option<String>,
    /// Why it was given up.
    pub(crate) error: String,
    /// After how many attempts.
    pub(crate) attempts: u32,
    /// When.
    pub(crate) at: Timestamp,
    /// What became of it.
    pub(crate) state: &'static str,
}

impl Letter {
    fn of(service: &Service, letter: DeadLetter) -> Self {
        let record = &letter.received.record;
        Self {
            service: service.name.clone(),
            id: letter.id.to_string(),
            topic: record.topic.clone(),
            key: record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned),
            event: letter.event_type,
            error: letter.error,
            attempts: letter.attempts,
            at: letter.at,
            state: letter.state.as_str(),
        }
    }

    /// Whether it is of an event of this flow.
    pub(crate) fn is_of(&self, chart: &Chart) -> bool {
        let events = chart.definition.events();
        events.iter().any(|event| Some(&event.name) == self.event.as_ref() && event.topic == self.topic)
    }
}

/// The open dead letters of `service`, newest first.
pub(crate) async fn open(service: &Service) -> Result<Vec<Letter>, Trouble> {
    let (mut found, mut offset) = (Vec::<Letter>::new(), 0);
    loop {
        let (page, _) = service.store().dead_letters(&service.name, offset, PAGE).await?;
        let last = page.len() < PAGE as usize;
        offset += u64::from(PAGE);
        for letter in page.into_iter().map(|letter| Letter::of(service, letter)) {
            // What comes between two pages moves the others.
            if !found.contains(&letter) {
                found.push(letter);
            }
        }
        if last {
            return Ok(found);
        }
    }
}

/// One dead letter of `service`, whatever became of it.
pub(crate) async fn one(service: &Service, id: &str) -> Result<Option<Letter>, Trouble> {
    let letter = service.store().dead_letter(&service.name, &DeadLetterId::new(id)).await?;
    Ok(letter.map(|letter| Letter::of(service, letter)))
}
