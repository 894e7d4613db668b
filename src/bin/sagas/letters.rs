//! Dead letters: the commands for them, and how `explain` and `check` read those of sagas.

mod list;
mod settle;

use std::collections::HashSet;

use sagas::{
    dead_letter::{DeadLetterFilter, DeadLetterId, DeadLetterState, LetterHead, LetterSummary},
    port::store::{Settle, holding_letters},
    saga::{Chart, EventRef},
    time::Timestamp,
};
use serde::Serialize;

use super::{
    args::LettersCommand,
    error::CliError,
    output::Output,
    places::{Place, Service},
};

/// Runs the command. Returns whether the exit code is 0.
///
/// # Errors
/// If the databases cannot be read or written, or the flags contradict each other.
pub(crate) async fn letters(
    place: &Place,
    service: Option<&str>,
    wanted: LettersCommand,
    output: &Output,
) -> Result<bool, CliError> {
    match wanted {
        LettersCommand::List { filter, state, limit } => list::list(place, &filter, state, limit, output).await,
        LettersCommand::Show { id } => list::show(place, &id, output).await,
        LettersCommand::Retry(wanted) => settle::settle(place, service, Settle::Retry, &wanted, output).await,
        LettersCommand::Discard(wanted) => settle::settle(place, service, Settle::Discard, &wanted, output).await,
    }
}

/// The number of dead letters that are read at once; each includes its message.
const PAGE: u32 = 100;

/// A dead letter, without its message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Letter {
    /// The service that keeps it.
    pub(crate) service: String,
    /// Its id in that service.
    pub(crate) id: String,
    /// The event's name.
    #[serde(rename = "type")]
    pub(crate) event: Option<String>,
    /// The handler that gave it up; `None` if the record could not be delivered to any handler.
    pub(crate) handler: Option<String>,
    /// The topic of the message.
    pub(crate) topic: String,
    /// The partition of the message.
    pub(crate) partition: i32,
    /// The offset of the message.
    pub(crate) offset: i64,
    /// The key of the message.
    pub(crate) key: Option<String>,
    /// The error of the last attempt.
    pub(crate) error: String,
    /// The number of attempts.
    pub(crate) attempts: u32,
    /// When it was dead-lettered.
    pub(crate) at: Timestamp,
    /// Its state.
    pub(crate) state: &'static str,
    /// Whether later messages of its key wait until it is settled.
    pub(crate) holds_key: bool,
}

impl Letter {
    /// Whether it is not settled.
    pub(crate) fn is_open(&self) -> bool {
        self.state == DeadLetterState::Open.as_str()
    }

    /// The state, and whether it holds its key.
    fn shown_state(&self) -> &'static str {
        if self.holds_key { "open, holds its key" } else { self.state }
    }

    fn of(service: &Service, letter: LetterSummary, holding: &HashSet<DeadLetterId>) -> Self {
        let holds_key = holding.contains(&letter.head.id);
        let LetterHead { id, state, partition, offset, key, handler, bytes: _ } = letter.head;
        Self {
            service: service.name.clone(),
            id: id.to_string(),
            topic: partition.topic,
            partition: partition.partition,
            offset,
            key: key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned),
            event: letter.event_type,
            handler,
            error: letter.error,
            attempts: letter.attempts,
            at: letter.at,
            state: state.as_str(),
            holds_key,
        }
    }

    /// The event of this saga that the message is, if it is one, by its current name or a previous one.
    pub(crate) fn event_of<'c>(&self, chart: &'c Chart) -> Option<&'c EventRef> {
        chart.definition.event(&self.topic, self.event.as_deref()?)
    }
}

/// Reads the open dead letters of `service`, newest first.
pub(crate) async fn open(service: &Service) -> Result<Vec<Letter>, CliError> {
    matching(service, &DeadLetterFilter::open()).await
}

/// Reads the open dead letters of `service` whose messages have this key, newest first.
pub(crate) async fn open_of_key(service: &Service, key: &str) -> Result<Vec<Letter>, CliError> {
    matching(service, &DeadLetterFilter { key: Some(key.to_owned().into()), ..DeadLetterFilter::open() }).await
}

async fn matching(service: &Service, filter: &DeadLetterFilter) -> Result<Vec<Letter>, CliError> {
    let (mut found, mut offset) = (Vec::<Letter>::new(), 0);
    loop {
        let (page, _) = service.store().find_dead_letters(&service.name, filter, offset, PAGE).await?;
        let last = page.len() < PAGE as usize;
        offset += u64::from(PAGE);
        for letter in letters_of(service, page).await? {
            // Dead letters that are added between two pages shift the others to the next page.
            if !found.contains(&letter) {
                found.push(letter);
            }
        }
        if last {
            return Ok(found);
        }
    }
}

/// Reads one dead letter of `service`, in any state.
pub(crate) async fn one(service: &Service, id: &str) -> Result<Option<Letter>, CliError> {
    let letter = service.store().dead_letter(&service.name, &DeadLetterId::new(id)).await?;
    Ok(letters_of(service, letter.iter().map(LetterSummary::of).collect()).await?.pop())
}

/// Reads which of `summaries` hold their keys.
async fn letters_of(service: &Service, summaries: Vec<LetterSummary>) -> Result<Vec<Letter>, CliError> {
    let holding = holding_letters(service.store(), &service.name, &summaries).await?;
    Ok(summaries.into_iter().map(|letter| Letter::of(service, letter, &holding)).collect())
}
