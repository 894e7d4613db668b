//! Dead letters: messages that services gave up, and, of `explain` and `check`, those of flows among them.

mod list;
mod settle;

use sagas::{
    saga::Chart,
    store::{DeadLetterFilter, DeadLetterId, DeadLetterState, LetterHead, LetterSummary, Settle},
    time::Timestamp,
};
use serde::Serialize;

use super::{
    args::LettersCommand,
    output::Output,
    places::{Place, Service},
    trouble::Trouble,
};

/// Does what was asked for; says whether all is as it should be.
///
/// # Errors
/// When the databases cannot be read or written, or flags do not fit.
pub(crate) async fn letters(
    place: &Place,
    service: Option<&str>,
    wanted: LettersCommand,
    output: &Output,
) -> Result<bool, Trouble> {
    match wanted {
        LettersCommand::List { filter, state, limit } => list::list(place, &filter, state, limit, output).await,
        LettersCommand::Show { id } => list::show(place, &id, output).await,
        LettersCommand::Retry(wanted) => settle::settle(place, service, Settle::Retry, &wanted, output).await,
        LettersCommand::Discard(wanted) => settle::settle(place, service, Settle::Discard, &wanted, output).await,
    }
}

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
    /// Where its message came from.
    pub(crate) topic: String,
    /// The partition there.
    pub(crate) partition: i32,
    /// The offset there.
    pub(crate) offset: i64,
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
    /// Whether nobody has settled it.
    pub(crate) fn is_open(&self) -> bool {
        self.state == DeadLetterState::Open.as_str()
    }

    fn of(service: &Service, letter: LetterSummary) -> Self {
        let LetterHead { id, state, partition, offset, key, bytes: _ } = letter.head;
        Self {
            service: service.name.clone(),
            id: id.to_string(),
            topic: partition.topic,
            partition: partition.partition,
            offset,
            key: key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned),
            event: letter.event_type,
            error: letter.error,
            attempts: letter.attempts,
            at: letter.at,
            state: state.as_str(),
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
        let (page, _) = service.store().find_dead_letters(&service.name, &DeadLetterFilter::open(), offset, PAGE).await?;
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
    Ok(letter.map(|letter| Letter::of(service, LetterSummary::of(&letter))))
}
