//! Replays: requests that a service handles a range of a topic again, and lists and stops them. A request is a row in the
//! database of the service, which carries it out when it runs.

use sagas::{
    id::IdSource,
    message::TopicPartition,
    port::store::Ownership,
    replay::{Replay, ReplayId, ReplayState},
    time::{Clock, Timestamp},
};
use serde::Serialize;

use super::{
    args::{AskReplay, ReplaysCommand},
    error::CliError,
    output::Output,
    places::{Place, Service},
    table::Table,
    words::{counted, one_line, span},
};

/// How much later than the previous replay a new one is, at least, in milliseconds.
const AFTER_MS: i64 = 1;

/// Runs the command. Returns whether the exit code is 0.
///
/// # Errors
/// If the databases cannot be read or written, or the flags contradict each other.
pub(crate) async fn replays(
    place: &Place,
    service: Option<&str>,
    wanted: ReplaysCommand,
    output: &Output,
) -> Result<bool, CliError> {
    match wanted {
        ReplaysCommand::List { open, limit } => list(place, open, limit, output).await,
        ReplaysCommand::Ask(wanted) => ask(place, service, &wanted, output).await,
        ReplaysCommand::Cancel { id } => cancel(place, service, &id, output).await,
    }
}

/// A replay, or one that would be requested.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    service: String,
    id: Option<String>,
    topic: String,
    partition: i32,
    from: Option<i64>,
    from_time: Option<Timestamp>,
    to: Option<i64>,
    to_time: Option<Timestamp>,
    again: bool,
    /// The applied offset of the partition.
    applied: Option<i64>,
    state: &'static str,
    reason: String,
    by: String,
    at: Timestamp,
    detail: Option<String>,
}

impl Shown {
    fn of(service: &str, replay: Replay) -> Self {
        let TopicPartition { topic, partition } = replay.partition;
        Self {
            service: service.to_owned(),
            id: Some(replay.id.to_string()),
            topic,
            partition,
            from: replay.from,
            from_time: replay.from_time,
            to: replay.to,
            to_time: replay.to_time,
            again: replay.again,
            applied: replay.applied,
            state: replay.state.as_str(),
            reason: replay.reason,
            by: replay.by,
            at: replay.at,
            detail: replay.detail,
        }
    }
}

async fn list(place: &Place, open: bool, limit: u32, output: &Output) -> Result<bool, CliError> {
    let mut found = place
        .read(async |services| {
            let mut found = Vec::new();
            for service in services.iter() {
                let replays = service.store().replays().list(&service.name, open, limit).await?;
                found.extend(replays.into_iter().map(|replay| Shown::of(&service.name, replay)));
            }
            Ok(found)
        })
        .await?;
    found.sort_by_key(|replay| std::cmp::Reverse(replay.at));
    found.truncate(limit as usize);
    match found.is_empty() {
        true => output.say("There are no such replays."),
        false => show(&found, output),
    }
    Ok(true)
}

fn show(replays: &[Shown], output: &Output) {
    let now = Clock::system().now();
    let mut table = Table::new(&["SERVICE", "ID", "PARTITION", "FROM", "TO", "APPLIED", "AGAIN", "STATE", "AGE", "BY", "REASON"]);
    let offset = |offset: Option<i64>, time: Option<Timestamp>, otherwise: &str| match (offset, time) {
        (Some(offset), _) => offset.to_string(),
        (None, Some(time)) => time.to_string(),
        (None, None) => otherwise.to_owned(),
    };
    for replay in replays {
        output.give(replay);
        let reason = replay.detail.as_deref().unwrap_or(&replay.reason);
        table.row(
            [
                replay.service.as_str(),
                replay.id.as_deref().unwrap_or("-"),
                &format!("{}-{}", replay.topic, replay.partition),
                &offset(replay.from, replay.from_time, "oldest"),
                &offset(replay.to, replay.to_time, "end"),
                &replay.applied.map_or_else(|| "-".to_owned(), |applied| applied.to_string()),
                if replay.again { "yes" } else { "no" },
                replay.state,
                &span(now.since(replay.at)),
                &one_line(&replay.by),
                &one_line(reason),
            ]
            .map(Into::into),
        );
    }
    output.say(table.show(output.has_colours()));
}

async fn ask(place: &Place, service: Option<&str>, wanted: &AskReplay, output: &Output) -> Result<bool, CliError> {
    let Some(service) = service else {
        return Err(CliError::Usage("replays ask is about one service: name it by --service".into()));
    };
    let plan = if wanted.dry_run {
        place
            .read(async |services| match services.iter().next() {
                Some(service) => plan(service, wanted).await,
                None => Err(CliError::Failed(format!("--service {service}: it keeps nothing here"))),
            })
            .await?
    } else {
        place.write(service, async |service| write(service, wanted).await).await?
    };
    let count = counted(plan.len() as u64, "partition", "partitions");
    let effect = match wanted.again {
        true => "messages that were handled are handled again, with all their effects",
        false => "only messages that were never handled have an effect",
    };
    output.say(match wanted.dry_run {
        true => format!("{service} would read {count} of {} again; {effect}:", wanted.topic),
        false => format!(
            "{service} will read {count} of {} again, within seconds if it runs, else when it starts; {effect}:",
            wanted.topic
        ),
    });
    show(
        &plan.into_iter().map(|replay| Shown { id: replay.id.filter(|_| !wanted.dry_run), ..replay }).collect::<Vec<_>>(),
        output,
    );
    Ok(true)
}

/// The replays that `wanted` describes: one for each partition that the service has read.
async fn plan(service: &Service, wanted: &AskReplay) -> Result<Vec<Shown>, CliError> {
    let planned = planned(service, wanted).await?;
    Ok(planned.into_iter().map(|replay| Shown::of(&service.name, replay)).collect())
}

async fn planned(service: &Service, wanted: &AskReplay) -> Result<Vec<Replay>, CliError> {
    let (store, name) = (service.store(), service.name.as_str());
    let read: Vec<Ownership> = store.replays().partitions(name).await?;
    let of_topic: Vec<_> = read.iter().filter(|owned| owned.partition.topic == wanted.topic).collect();
    if of_topic.is_empty() {
        let mut topics: Vec<_> = read.iter().map(|owned| owned.partition.topic.as_str()).collect();
        topics.sort_unstable();
        topics.dedup();
        return Err(CliError::Failed(format!("{name} has read no topic {}; it has read {}", wanted.topic, topics.join(", "))));
    }
    let of_partition: Vec<_> =
        of_topic.iter().filter(|owned| wanted.partition.is_none_or(|partition| partition == owned.partition.partition)).collect();
    if of_partition.is_empty() {
        let numbers: Vec<_> = of_topic.iter().map(|owned| owned.partition.partition.to_string()).collect();
        return Err(CliError::Failed(format!("{name} has read of {} the partitions {}", wanted.topic, numbers.join(", "))));
    }
    // Inbox claims that are older than the replay do not count for it. So its time is after the last replay's, and from the
    // database's clock.
    let now = store.time().await?.unwrap_or_else(|| Clock::system().now());
    let last =
        store.replays().list(name, false, 1).await?.first().map(|last| Timestamp::from_millis(last.at.as_millis() + AFTER_MS));
    let at = last.map_or(now, |last| last.max(now));
    let (ids, mut planned) = (IdSource::random(), Vec::new());
    for owned in of_partition {
        let (from, to) = (wanted.from_offset, wanted.to_offset);
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(CliError::Usage(format!("--from-offset {from} is not before --to-offset {to}")));
        }
        planned.push(Replay {
            id: ReplayId::from(ids.uuid(now)),
            partition: owned.partition.clone(),
            from,
            from_time: wanted.from_time,
            to,
            to_time: wanted.to_time,
            limit: wanted.limit,
            again: wanted.again,
            reason: wanted.reason.clone(),
            by: wanted.by.clone(),
            at,
            state: ReplayState::Waiting,
            resume: None,
            ended_at: None,
            detail: None,
            applied: owned.applied,
            log: owned.log.clone(),
        });
    }
    Ok(planned)
}

/// Requests the replays.
async fn write(service: &Service, wanted: &AskReplay) -> Result<Vec<Shown>, CliError> {
    let mut asked = Vec::new();
    for replay in planned(service, wanted).await? {
        if !service.store().replays().ask(&service.name, &replay).await? {
            return Err(CliError::Failed(format!(
                "a replay of {} has not ended: wait for it, or `sagas replays cancel` it; {} requested before it",
                replay.partition,
                counted(asked.len() as u64, "partition was", "partitions were")
            )));
        }
        asked.push(Shown::of(&service.name, replay));
    }
    Ok(asked)
}

async fn cancel(place: &Place, service: Option<&str>, id: &str, output: &Output) -> Result<bool, CliError> {
    let Some(service) = service else {
        return Err(CliError::Usage("replays cancel is about one service: name it by --service".into()));
    };
    let wanted = ReplayId::new(id);
    let stopped = place
        .write(service, async |service| {
            let now = service.store().time().await?.unwrap_or_else(|| Clock::system().now());
            Ok(service.store().replays().stop(&service.name, &wanted, now).await?)
        })
        .await?;
    match stopped {
        true => output.say(format!("the replay {} ends where it is", one_line(id))),
        false => {
            return Err(CliError::Failed(format!(
                "there is no replay {}, or it has ended; see `sagas replays list`",
                one_line(id)
            )));
        }
    }
    Ok(true)
}
