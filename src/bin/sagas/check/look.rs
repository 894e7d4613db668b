//! Checks all services.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sagas::{
    saga::{Chart, InstanceKey, InstanceQuery, InstanceState, StepRecord, StepState},
    time::Timestamp,
};

use super::{
    super::{
        definitions::Definitions,
        error::CliError,
        letters::{self, Letter},
        places::{Service, Services},
        tracked::{self, Tracked},
        words::{counted, segment, span},
    },
    finding::{Finding, Kind},
};

/// How long after its time limit an attempt counts as abandoned.
const LAPSED: Duration = Duration::from_secs(5 * 60);

/// The largest age of an ended instance that is still checked for its events.
const RECENT: Duration = Duration::from_secs(86_400);

/// The result of the checks.
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    /// The number of open instances that were checked.
    pub(super) open: u64,
    /// The names of the services that were checked.
    pub(super) services: String,
}

/// Checks everything, at the time `now`.
pub(super) async fn at(services: &Services, definitions: &Definitions, now: Timestamp) -> Result<Report, CliError> {
    let (mut findings, mut open) = (Vec::new(), 0);
    for service in services.iter() {
        versions(service, definitions, &mut findings).await?;
        let instances = instances(service, now).await?;
        for tracked in &instances {
            instance(tracked, definitions, now, &mut findings);
            if tracked.instance.ended_at.is_none() {
                open += 1;
                attempts(services, tracked, definitions, now, &mut findings).await?;
            }
        }
        dead_letters(services, service, definitions, &mut findings).await?;
    }
    findings.sort_by(|one, other| (one.kind, &one.service).cmp(&(other.kind, &other.service)));
    let services = match services.names() {
        names if names.is_empty() => "no service that has kept anything yet".to_owned(),
        names => names,
    };
    Ok(Report { findings, open, services })
}

/// The instances to check: those that are open, need attention, or began recently.
async fn instances(service: &Service, now: Timestamp) -> Result<Vec<Tracked>, CliError> {
    let since = now.before(RECENT);
    let open = InstanceQuery { open: true, ..InstanceQuery::default() };
    let attention = InstanceQuery { attention: true, ..InstanceQuery::default() };
    let mut found = tracked::all(service, &open, |_| false).await?;
    found.extend(tracked::all(service, &attention, |_| false).await?);
    found.extend(tracked::all(service, &InstanceQuery::default(), |instance| instance.started_at < since).await?);
    let mut known = BTreeSet::new();
    found.retain(|tracked| known.insert(tracked.instance.key.clone()));
    Ok(found)
}

/// Finds open instances of unknown versions.
async fn versions(service: &Service, definitions: &Definitions, findings: &mut Vec<Finding>) -> Result<(), CliError> {
    for open in service.sagas().open_versions(&service.name).await? {
        if definitions.chart(&service.name, &open.saga, open.version).is_none() {
            findings.push(Finding {
                kind: Kind::UnknownVersion,
                service: service.name.clone(),
                what: format!(
                    "{} of version {}, whose definition was never written here",
                    counted(open.instances, "open instance is", "open instances are"),
                    open.version
                ),
                fix: format!(
                    "run the program of service {} that has this version until they have ended, or end them by hand: POST \
                     /sagas/{}/ID/complete",
                    service.name,
                    segment(&open.saga)
                ),
                saga: Some(open.saga),
                saga_id: None,
            });
        }
    }
    Ok(())
}

/// Finds what is wrong with one instance, according to its tracker.
fn instance(tracked: &Tracked, definitions: &Definitions, now: Timestamp, findings: &mut Vec<Finding>) {
    let (instance, service) = (&tracked.instance, &tracked.service);
    let mut find = |kind, what: String, fix: String| {
        let (saga, saga_id) = (Some(instance.key.saga.clone()), Some(instance.key.id.clone()));
        findings.push(Finding { kind, service: service.clone(), saga, saga_id, what, fix });
    };
    let path = format!("/sagas/{}/{}", segment(&instance.key.saga), segment(&instance.key.id));
    let explain = format!("see `sagas explain {}`", instance.key.id);
    if let Some(attention) = &instance.attention {
        find(
            Kind::Attention,
            format!("it needs attention: {attention}"),
            format!("{explain}, see to the cause, then POST {path}/retry"),
        );
    }
    let due = instance.due().filter(|due| *due <= now && instance.state == InstanceState::Running);
    if let Some(due) = due {
        let chart = definitions.chart(service, &instance.key.saga, instance.version);
        let what = format!("it is {} past its deadline, and undecided", span(now.since(due)));
        let gives_up = chart.is_none_or(|chart| chart.definition.abort.deadline);
        let follows = if gives_up { "gives it up" } else { "asks for attention" };
        find(
            Kind::Overdue,
            what,
            format!("see that service {service} runs, which then {follows}; or POST {path}/compensate there"),
        );
    }
    if instance.body.not_allowed > 0 {
        let came = counted(instance.body.not_allowed.into(), "event came that", "events came that");
        let what = format!("{came} the saga does not allow");
        find(Kind::NotAllowed, what, format!("{explain}: the timeline names them, and who published them"));
    }
}

/// Finds attempts of steps of `tracked` that no process continues.
async fn attempts(
    services: &Services,
    tracked: &Tracked,
    definitions: &Definitions,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) -> Result<(), CliError> {
    let (instance, since) = (&tracked.instance, now.before(LAPSED));
    if instance.started_at > since {
        return Ok(());
    }
    let chart = definitions.chart(&tracked.service, &instance.key.saga, instance.version);
    for service in services.iter() {
        let takes_part = chart.is_none_or(|chart| {
            let participants = &chart.participants;
            let known = participants.done_by.values().chain(participants.undone_by.values()).any(|name| *name == service.name);
            known || participants.done_by.is_empty()
        });
        if !takes_part {
            continue;
        }
        for step in service.sagas().steps(&service.name, &instance.key).await? {
            let Some(until) = step.until.filter(|until| *until < since) else { continue };
            // There is a finding for the dead letter already.
            if is_given_up(service, chart, &step).await? {
                continue;
            }
            let what = if step.state == StepState::Begun { "at" } else { "at undoing" };
            findings.push(Finding {
                kind: Kind::Lapsed,
                service: service.name.clone(),
                saga: Some(instance.key.saga.clone()),
                saga_id: Some(instance.key.id.clone()),
                what: format!(
                    "an attempt {what} {} was begun {} ago, and its time was over {} ago",
                    step.step,
                    span(now.since(step.at)),
                    span(now.since(until))
                ),
                fix: format!(
                    "see that service {} runs: it tries again when the message is delivered again; see `sagas explain {}`",
                    service.name, instance.key.id
                ),
            });
        }
    }
    Ok(())
}

/// Whether `service` has dead-lettered a message that triggers `step` or its compensation.
async fn is_given_up(service: &Service, chart: Option<&Chart>, record: &StepRecord) -> Result<bool, CliError> {
    let Some(chart) = chart else { return Ok(false) };
    let Some(step) = chart.definition.step(&record.step) else { return Ok(false) };
    let undo = step.undo.iter().flat_map(|undo| &undo.on);
    let on: Vec<_> = undo.chain([&step.on]).collect();
    let letters = letters::open(service).await?;
    Ok(letters.iter().any(|letter| {
        letter.key.as_ref() == Some(&record.instance.id) && letter.event_of(chart).is_some_and(|event| on.contains(&event))
    }))
}

/// Finds the dead letters of `service`: one finding for each that belongs to a saga; the others grouped by topic and type.
async fn dead_letters(
    services: &Services,
    service: &Service,
    definitions: &Definitions,
    findings: &mut Vec<Finding>,
) -> Result<(), CliError> {
    let mut others: BTreeMap<(String, Option<String>), Vec<Letter>> = BTreeMap::new();
    for letter in letters::open(service).await? {
        let Some((tracker, chart)) = definitions.iter().find(|(_, chart)| letter.event_of(chart).is_some()) else {
            others.entry((letter.topic.clone(), letter.event.clone())).or_default().push(letter);
            continue;
        };
        let path = format!("/dead-letters/{}", segment(&letter.id));
        let fix = match ended(services, tracker, chart, &letter).await? {
            Some(state) => format!(
                "its saga has ended as {} without it: POST {path}/discard at service {}, or .../retry if what it does is still wanted",
                state.as_str(),
                service.name
            ),
            None => format!("see to the cause, then POST {path}/retry at service {}, or .../discard", service.name),
        };
        findings.push(Finding {
            kind: Kind::DeadLetter,
            service: service.name.clone(),
            saga: Some(chart.definition.name.clone()),
            what: format!(
                "{} was given up after {}: {} (dead letter {})",
                letter.event.as_deref().unwrap_or("a message"),
                counted(letter.attempts.into(), "attempt", "attempts"),
                letter.error,
                letter.id
            ),
            fix,
            saga_id: letter.key,
        });
    }
    findings.extend(others.into_iter().filter_map(|(kind, letters)| of_no_saga(service, kind, &letters)));
    Ok(())
}

/// The finding for `letters` of one topic and type, newest first.
fn of_no_saga(service: &Service, (topic, event): (String, Option<String>), letters: &[Letter]) -> Option<Finding> {
    let newest = letters.first()?;
    let name = event.as_deref().unwrap_or("records without a type");
    let filter = format!("--service {} --topic {}", quoted(&service.name), quoted(&topic));
    let fix = match &event {
        Some(event) => {
            let filter = format!("{filter} --type {}", quoted(event));
            format!("see `sagas letters list {filter}` and the cause, then `sagas letters retry {filter}`, or discard")
        }
        // A filter cannot select only records without a type.
        None => format!(
            "see `sagas letters list {filter}` and the cause, then POST /dead-letters/ID/retry at service {}, or .../discard",
            service.name
        ),
    };
    Some(Finding {
        kind: Kind::DeadLetter,
        service: service.name.clone(),
        saga: None,
        saga_id: None,
        what: format!(
            "{} of {name} (topic {topic}); the newest after {}: {} (dead letter {})",
            counted(letters.len() as u64, "open dead letter", "open dead letters"),
            counted(newest.attempts.into(), "attempt", "attempts"),
            newest.error,
            newest.id
        ),
        fix,
    })
}

/// Quotes `text` for a shell, if necessary.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The state in which the instance of `letter` has ended; `None` if it has not ended, or is not in these databases.
async fn ended(services: &Services, tracker: &str, chart: &Chart, letter: &Letter) -> Result<Option<InstanceState>, CliError> {
    let Some(id) = letter.key.clone() else { return Ok(None) };
    let key = InstanceKey { saga: chart.definition.name.clone(), id };
    for service in services.named(tracker) {
        if let Some(Tracked { instance, .. }) = tracked::one(service, &key).await?
            && instance.ended_at.is_some()
        {
            return Ok(Some(instance.state));
        }
    }
    Ok(None)
}
