//! The look at all services.

use std::{collections::BTreeSet, time::Duration};

use sagas::{
    saga::{Chart, InstanceKey, InstanceState, StepRecord, StepState},
    store::InstanceQuery,
    time::Timestamp,
};

use super::{
    super::{
        flows::Flows,
        letters::{self, Letter},
        places::{Service, Services},
        tracked::{self, Tracked},
        trouble::Trouble,
        words::{counted, segment, span},
    },
    finding::{Finding, Kind},
};

/// How long after its time an attempt is taken for one that nobody goes on with.
const LAPSED: Duration = Duration::from_secs(5 * 60);

/// How old an instance that has ended may be whose events are still looked at.
const RECENT: Duration = Duration::from_secs(86_400);

/// What was found.
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    /// Open instances that were looked at.
    pub(super) open: u64,
    /// The services that were looked at, for people.
    pub(super) services: String,
}

/// Looks at everything, at `now`.
pub(super) async fn at(services: &Services, flows: &Flows, now: Timestamp) -> Result<Report, Trouble> {
    let (mut findings, mut open) = (Vec::new(), 0);
    for service in services.iter() {
        versions(service, flows, &mut findings).await?;
        let instances = instances(service, now).await?;
        for tracked in &instances {
            instance(tracked, flows, now, &mut findings);
            if tracked.instance.ended_at.is_none() {
                open += 1;
                attempts(services, tracked, flows, now, &mut findings).await?;
            }
        }
        dead_letters(services, service, flows, &mut findings).await?;
    }
    findings.sort_by(|one, other| (one.kind, &one.service).cmp(&(other.kind, &other.service)));
    let services = match services.names() {
        names if names.is_empty() => "no service that has kept anything yet".to_owned(),
        names => names,
    };
    Ok(Report { findings, open, services })
}

/// The instances to look at: those that are open, those that need attention, and those that began lately.
async fn instances(service: &Service, now: Timestamp) -> Result<Vec<Tracked>, Trouble> {
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

/// Open instances of versions that are not known.
async fn versions(service: &Service, flows: &Flows, findings: &mut Vec<Finding>) -> Result<(), Trouble> {
    for open in service.sagas().open_versions(&service.name).await? {
        if flows.chart(&service.name, &open.saga, open.version).is_none() {
            findings.push(Finding {
                kind: Kind::UnknownVersion,
                service: service.name.clone(),
                what: format!(
                    "{} of version {}, whose flow was never written here",
                    counted(open.instances, "open instance is", "open instances are"),
                    open.version
                ),
                fix: format!(
                    "run the program of service {} that has this version until they have ended, or end them by hand: POST \
                     /sagas/{}/ID/complete",
                    service.name,
                    segment(&open.saga)
                ),
                saga: open.saga,
                saga_id: None,
            });
        }
    }
    Ok(())
}

/// What is wrong with one instance, by what its tracker keeps.
fn instance(tracked: &Tracked, flows: &Flows, now: Timestamp, findings: &mut Vec<Finding>) {
    let (instance, service) = (&tracked.instance, &tracked.service);
    let mut find = |kind, what: String, fix: String| {
        let (saga, saga_id) = (instance.key.saga.clone(), Some(instance.key.id.clone()));
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
        let chart = flows.chart(service, &instance.key.saga, instance.version);
        let what = format!("it is {} past its deadline, and undecided", span(now.since(due)));
        let gives_up = chart.is_none_or(|chart| chart.definition.abort.deadline);
        let follows = if gives_up { "gives it up" } else { "asks for attention" };
        find(
            Kind::Overdue,
            what,
            format!("see that service {service} runs, which then {follows}; or POST {path}/compensate there"),
        );
    }
    if instance.known.not_allowed > 0 {
        let came = counted(instance.known.not_allowed.into(), "event came that", "events came that");
        let what = format!("{came} the flow does not allow");
        find(Kind::NotAllowed, what, format!("{explain}: the timeline names them, and who published them"));
    }
}

/// Attempts at steps of `tracked` that nobody goes on with.
async fn attempts(
    services: &Services,
    tracked: &Tracked,
    flows: &Flows,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) -> Result<(), Trouble> {
    let (instance, since) = (&tracked.instance, now.before(LAPSED));
    if instance.started_at > since {
        return Ok(());
    }
    let chart = flows.chart(&tracked.service, &instance.key.saga, instance.version);
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
            // The finding of the dead letter says what there is to say.
            if is_given_up(service, chart, &step).await? {
                continue;
            }
            let what = if step.state == StepState::Begun { "at" } else { "at undoing" };
            findings.push(Finding {
                kind: Kind::Lapsed,
                service: service.name.clone(),
                saga: instance.key.saga.clone(),
                saga_id: Some(instance.key.id.clone()),
                what: format!(
                    "an attempt {what} {} was begun {} ago, and its time was over {} ago",
                    step.step,
                    span(now.since(step.at)),
                    span(now.since(until))
                ),
                fix: format!(
                    "see that service {} runs: it tries again when the message comes again, which `sagas explain {}` tells",
                    service.name, instance.key.id
                ),
            });
        }
    }
    Ok(())
}

/// Whether `service` has given up a message that calls for `step`, or for what undoes it.
async fn is_given_up(service: &Service, chart: Option<&Chart>, record: &StepRecord) -> Result<bool, Trouble> {
    let Some(step) = chart.and_then(|chart| chart.definition.step(&record.step)) else { return Ok(false) };
    let undo = step.undo.iter().flat_map(|undo| &undo.on);
    let on: Vec<_> = undo.chain([&step.on]).map(|event| event.name.as_str()).collect();
    let letters = letters::open(service).await?;
    Ok(letters.iter().any(|letter| {
        letter.key.as_ref() == Some(&record.instance.id) && letter.event.as_deref().is_some_and(|event| on.contains(&event))
    }))
}

/// Messages of flows that `service` gave up.
async fn dead_letters(services: &Services, service: &Service, flows: &Flows, findings: &mut Vec<Finding>) -> Result<(), Trouble> {
    for letter in letters::open(service).await? {
        let Some((tracker, chart)) = flows.iter().find(|(_, chart)| letter.is_of(chart)) else { continue };
        let path = format!("/dead-letters/{}", segment(&letter.id));
        let fix = match ended(services, tracker, chart, &letter).await? {
            Some(state) => format!(
                "its flow has ended as {} without it: POST {path}/discard at service {}, or .../retry if what it does is still wanted",
                state.as_str(),
                service.name
            ),
            None => format!("see to the cause, then POST {path}/retry at service {}, or .../discard", service.name),
        };
        findings.push(Finding {
            kind: Kind::DeadLetter,
            service: service.name.clone(),
            saga: chart.definition.name.clone(),
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
    Ok(())
}

/// How the instance of `letter` has ended; `None` while it has not, or is not kept here.
async fn ended(services: &Services, tracker: &str, chart: &Chart, letter: &Letter) -> Result<Option<InstanceState>, Trouble> {
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
