//! `sagas letters list` and `show`.

use sagas::{
    dead_letter::{DeadLetterFilter, DeadLetterId, LetterSummary},
    message::Record,
    time::{Clock, Timestamp},
};
use serde::Serialize;

use super::{
    super::{
        args::{LetterFilter, LetterState},
        error::CliError,
        output::{Output, note},
        places::{Place, Services},
        table::Table,
        words::{counted, one_line, span},
    },
    Letter, letters_of,
};

/// The number of dead letters that are read at once.
const PAGE: u32 = 100;

/// Lists dead letters, newest first.
///
/// # Errors
/// If the databases cannot be read.
pub(super) async fn list(
    place: &Place,
    filter: &LetterFilter,
    state: LetterState,
    limit: u32,
    output: &Output,
) -> Result<bool, CliError> {
    let filter = DeadLetterFilter { state, ..filter.read() };
    let (found, total) = place.read(async |services| newest(services, &filter, limit).await).await?;
    show_all(&found, total, output);
    Ok(true)
}

/// Reads the newest `limit` dead letters of all services, and counts all that match.
pub(super) async fn newest(services: &Services, filter: &DeadLetterFilter, limit: u32) -> Result<(Vec<Letter>, u64), CliError> {
    let (mut found, mut total) = (Vec::<Letter>::new(), 0);
    for service in services.iter() {
        let (mut here, mut offset) = (Vec::<Letter>::new(), 0);
        while here.len() < limit as usize {
            let most = PAGE.min(limit);
            let (page, all) = service.store().find_dead_letters(&service.name, filter, offset, most).await?;
            let last = page.len() < most as usize;
            offset += u64::from(most);
            for letter in letters_of(service, page).await? {
                // Dead letters that are added between two pages shift the others to the next page.
                if !here.contains(&letter) {
                    here.push(letter);
                }
            }
            if last || offset >= all {
                total += all;
                break;
            }
            if here.len() >= limit as usize {
                total += all;
            }
        }
        here.truncate(limit as usize);
        found.append(&mut here);
    }
    found.sort_by(|one, other| other.at.cmp(&one.at).then_with(|| one.id.cmp(&other.id)));
    found.truncate(limit as usize);
    Ok((found, total))
}

/// Prints dead letters, and how many of the `total` are omitted.
pub(super) fn show_all(letters: &[Letter], total: u64, output: &Output) {
    let now = Clock::system().now();
    let mut table = Table::new(&["SERVICE", "ID", "TYPE", "HANDLER", "TOPIC", "KEY", "ATTEMPTS", "AGE", "STATE", "ERROR"]);
    for letter in letters {
        output.give(letter);
        table.row(
            [
                letter.service.as_str(),
                letter.id.as_str(),
                letter.event.as_deref().unwrap_or("-"),
                letter.handler.as_deref().unwrap_or("-"),
                &format!("{}-{}@{}", letter.topic, letter.partition, letter.offset),
                letter.key.as_deref().unwrap_or("-"),
                &letter.attempts.to_string(),
                &span(now.since(letter.at)),
                letter.shown_state(),
                letter.error.as_str(),
            ]
            .map(Into::into),
        );
    }
    match letters.is_empty() {
        true => output.say("There are no such dead letters."),
        false => output.say(table.show(output.has_colours())),
    }
    let more = total.saturating_sub(letters.len() as u64);
    if more > 0 {
        let more = format!("and {}: raise --limit to see more", counted(more, "more", "more"));
        match output.is_json() {
            true => note(more),
            false => output.say(more),
        }
    }
}

/// A dead letter with its message. Bytes that are not UTF-8 are written in hexadecimal.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    letter: Letter,
    timestamp: Option<Timestamp>,
    headers: Vec<(String, Option<String>)>,
    value: Option<String>,
}

/// Prints one dead letter, of any service.
///
/// # Errors
/// If the databases cannot be read, or none contains it.
pub(super) async fn show(place: &Place, id: &str, output: &Output) -> Result<bool, CliError> {
    let wanted = DeadLetterId::new(id);
    let found = place
        .read(async |services| {
            let mut found = Vec::new();
            for service in services.iter() {
                if let Some(letter) = service.store().dead_letter(&service.name, &wanted).await? {
                    let summaries = letters_of(service, vec![LetterSummary::of(&letter)]).await?;
                    found.extend(summaries.into_iter().map(|summary| (summary, letter.received.record.clone())));
                }
            }
            Ok(found)
        })
        .await?;
    if found.is_empty() {
        return Err(CliError::Failed(format!("there is no dead letter {}; see `sagas letters list --state all`", one_line(id))));
    }
    for (letter, record) in found {
        tell(&letter, &record, output);
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let headers = record.headers.iter().map(|header| (header.name.clone(), header.value.as_deref().map(text)));
        let (timestamp, headers, value) = (record.timestamp.time(), headers.collect(), record.value.as_deref().map(text));
        output.give(&Whole { letter, timestamp, headers, value });
    }
    Ok(true)
}

fn tell(letter: &Letter, record: &Record, output: &Output) {
    let shown = |bytes: &[u8]| one_line(&String::from_utf8_lossy(bytes));
    let mut table = Table::indented(0);
    let mut line = |name: &str, value: &str| table.row([name.into(), value.into()]);
    line("service", &letter.service);
    line("id", &letter.id);
    line("state", letter.shown_state());
    line("type", letter.event.as_deref().unwrap_or("-"));
    line("handler", letter.handler.as_deref().unwrap_or("-"));
    line("from", &format!("{}, partition {}, offset {}", letter.topic, letter.partition, letter.offset));
    line("key", letter.key.as_deref().unwrap_or("-"));
    line("given up", &format!("{} after {}", letter.at, counted(letter.attempts.into(), "attempt", "attempts")));
    line("error", &letter.error);
    for header in &record.headers {
        line(&format!("header {}", header.name), &header.value.as_deref().map_or_else(|| "-".to_owned(), shown));
    }
    line("value", &record.value.as_deref().map_or_else(|| "-".to_owned(), shown));
    output.say(table.show(output.has_colours()));
}
