//! Everything that the services know about an instance.

use sagas::{
    saga::{Chart, HistoryEntry, StepRecord},
    time::Timestamp,
};
use serde::Serialize;

use super::{
    super::{
        definitions::Definitions,
        error::CliError,
        letters::{self, Letter},
        places::Services,
        rows::Row,
        tracked::Tracked,
    },
    missing::{self, Missing},
    operations::{self, Operation},
    step::StepView,
};

/// Everything that the services know about an instance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Story {
    #[serde(skip)]
    pub(super) now: Timestamp,
    #[serde(flatten)]
    pub(super) row: Row,
    /// The history, in the order in which the tracker recorded it.
    pub(super) timeline: Vec<Moment>,
    /// The next steps, and the services that must do them; `None` if the definition is not known.
    pub(super) missing: Option<Vec<Missing>>,
    /// The open dead letters of the instance, and those that block it.
    pub(super) dead_letters: Vec<Letter>,
    /// Dead letters that block the instance and were not found in these databases: the service, and the id.
    pub(super) dead_letters_elsewhere: Vec<(String, String)>,
    /// The step records of the participants.
    pub(super) steps: Vec<StepView>,
    /// What an operator can do, as HTTP requests to the service that tracks the instance.
    pub(super) operations: Vec<Operation>,
}

/// An entry of the history.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Moment {
    pub(super) event: String,
    pub(super) at: Timestamp,
    seen_at: Timestamp,
    pub(super) source: String,
    message_id: String,
    causation_id: Option<String>,
    pub(super) note: Option<String>,
}

impl Story {
    /// Collects what the services know about `tracked` at `now`.
    pub(super) async fn of(
        services: &Services,
        definitions: &Definitions,
        tracked: &Tracked,
        now: Timestamp,
    ) -> Result<Self, CliError> {
        let instance = &tracked.instance;
        let chart = definitions.chart(&tracked.service, &instance.key.saga, instance.version);
        let (mut timeline, mut steps) = (Vec::new(), Vec::new());
        for service in services.named(&tracked.service) {
            timeline.extend(service.sagas().history(&service.name, &instance.key).await?.into_iter().map(Moment::from));
        }
        for service in services.iter() {
            let here = service.sagas().steps(&service.name, &instance.key).await?;
            let done = here.into_iter().filter(|record| !chart.is_some_and(|chart| is_told_only(chart, &service.name, record)));
            steps.extend(done.map(|step| StepView::of(&service.name, step)));
        }
        steps.sort_by_key(|step| step.at);
        let (dead_letters, dead_letters_elsewhere) = given_up(services, tracked, chart).await?;
        Ok(Self {
            now,
            row: Row::of(tracked, chart, now),
            timeline,
            missing: chart.map(|chart| missing::of(services, instance, chart, (&steps, &dead_letters), now)),
            operations: operations::of(tracked, chart),
            dead_letters,
            dead_letters_elsewhere,
            steps,
        })
    }
}

/// Whether the record only means that `service` knows of the abort, which another service does.
fn is_told_only(chart: &Chart, service: &str, record: &StepRecord) -> bool {
    let abort = &chart.definition.abort.name;
    record.step == *abort && chart.participants.done_by.get(abort).is_some_and(|by| by != service)
}

/// The dead letters of an instance: those that block it, and those that are open.
async fn given_up(
    services: &Services,
    tracked: &Tracked,
    chart: Option<&Chart>,
) -> Result<(Vec<Letter>, Vec<(String, String)>), CliError> {
    let instance = &tracked.instance;
    let (mut found, mut elsewhere) = (Vec::new(), Vec::new());
    for stopped in &instance.body.stopped {
        let before = found.len();
        for service in services.named(&stopped.service) {
            found.extend(letters::one(service, &stopped.dead_letter).await?);
        }
        if found.len() == before {
            elsewhere.push((stopped.service.clone(), stopped.dead_letter.clone()));
        }
    }
    let Some(chart) = chart else { return Ok((found, elsewhere)) };
    for service in services.iter() {
        for letter in letters::open(service).await? {
            if letter.key.as_ref() == Some(&instance.key.id) && letter.event_of(chart).is_some() && !found.contains(&letter) {
                found.push(letter);
            }
        }
    }
    Ok((found, elsewhere))
}

impl From<HistoryEntry> for Moment {
    fn from(entry: HistoryEntry) -> Self {
        let HistoryEntry { event, message_id, causation_id, source, at, seen_at, note, .. } = entry;
        Self { event, at, seen_at, source, message_id, causation_id, note }
    }
}
