//! `sagas letters retry` and `discard`, which write to the database.

use sagas::{
    dead_letter::{DeadLetterFilter, LetterHead},
    port::store::{Bulk, Settle, settle as settle_in},
    store::StoreError,
    time::Clock,
};
use serde::Serialize;

use super::{
    super::{
        args::SettleLetters,
        error::CliError,
        output::{Output, note},
        places::{Place, Service},
        words::counted,
    },
    list,
};

/// The number of dead letters that a dry run shows.
const SAMPLES: u32 = 10;

/// How often a transaction is repeated after a conflict with another one.
const ATTEMPTS: u32 = 5;

/// The result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    service: String,
    /// The number of dead letters that were settled.
    settled: u64,
    /// The number of open dead letters that still match: they exceed the limit, or were added meanwhile.
    left: u64,
    /// The number of dead letters among them that the log refused: only the service can publish these again.
    unsent: u64,
}

/// Settles dead letters of one service.
///
/// # Errors
/// If the database cannot be read or written, or the flags contradict each other.
pub(super) async fn settle(
    place: &Place,
    service: Option<&str>,
    how: Settle,
    wanted: &SettleLetters,
    output: &Output,
) -> Result<bool, CliError> {
    let verb = if how == Settle::Retry { "retry" } else { "discard" };
    let Some(service) = service else {
        return Err(CliError::Usage(format!("letters {verb} is about one service: name it by --service")));
    };
    let filter = wanted.filter.read();
    if filter.is_empty() && !wanted.all {
        return Err(CliError::Usage(format!(
            "letters {verb}: select dead letters by --topic, --key, --type, --error, --since or --until, or all of them by --all"
        )));
    }
    if wanted.dry_run {
        let filter = filter.and_open();
        let (found, total) = place.read(async |services| list::newest(services, &filter, SAMPLES).await).await?;
        let would = format!("{} would be settled; these are the newest:", counted(total.min(wanted.limit), "letter", "letters"));
        match output.is_json() {
            true => note(would),
            false => output.say(would),
        }
        list::show_all(&found, found.len() as u64, output);
        return Ok(total > 0);
    }
    let done = place.write(service, async |service| run(service, how, &filter, wanted.limit).await).await?;
    output.give(&done);
    output.say(told(&done, how));
    Ok(done.settled > 0)
}

async fn run(service: &Service, how: Settle, filter: &DeadLetterFilter, limit: u64) -> Result<Done, CliError> {
    let (store, name) = (service.store(), service.name.as_str());
    let open = filter.and_open();
    let (_, total) = store.find_dead_letters(name, &open, 0, 0).await?;
    let mut bulk = Bulk::new(filter, limit.min(total));
    let mut done = Done { service: name.to_owned(), settled: 0, left: 0, unsent: 0 };
    while let Some(mut heads) = bulk.next(store, name).await? {
        if how == Settle::Retry {
            let before = heads.len();
            heads.retain(|head| head.was_received());
            done.unsent += (before - heads.len()) as u64;
        }
        let settled = batch(service, how, &heads).await?;
        bulk.settled(settled);
        done.settled += settled as u64;
    }
    done.left = store.find_dead_letters(name, &open, 0, 0).await?.1;
    Ok(done)
}

async fn batch(service: &Service, how: Settle, heads: &[LetterHead]) -> Result<usize, CliError> {
    let (store, name, clock) = (service.store(), service.name.as_str(), Clock::system());
    let attempt = async || {
        let letters = how.letters(store, name, heads).await?;
        let mut tx = store.begin().await?;
        let settled = settle_in(&mut *tx, name, how, heads, letters, clock.now()).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(settled.letters.len())
    };
    let mut failures = 0;
    loop {
        match attempt().await {
            Err(StoreError::Contended(_)) if failures < ATTEMPTS => failures += 1,
            settled => return Ok(settled?),
        }
    }
}

fn told(done: &Done, how: Settle) -> String {
    let what = match how {
        Settle::Retry => "given back to their handlers; the service, if it runs, finds them within seconds",
        Settle::Discard => "given up",
    };
    let mut text = match done.settled {
        0 => format!("{}: no open dead letter that matches was settled", done.service),
        settled => format!("{}: {} {what}", done.service, counted(settled, "dead letter", "dead letters")),
    };
    if done.left > 0 {
        text.push_str(&format!("; {} open that match", counted(done.left, "is", "are")));
    }
    if done.unsent > 0 {
        text.push_str(&format!(
            "; {} of a record that the log did not take: give it back by the service itself, POST /dead-letters/{{id}}/retry",
            counted(done.unsent, "is", "are each")
        ));
    }
    text
}
