//! What is known of an instance, from all services.

use sagas::{
    saga::Chart,
    store::{HistoryEntry, StepRecord},
    time::Timestamp,
};
use serde::Serialize;

use super::{
    super::{
        flows::Flows,
        letters::{self, Letter},
        places::Services,
        rows::Row,
        tracked::Tracked,
        trouble::Trouble,
    },
    missing::{self, Missing},
    operations::{self, Operation},
};

/// What is known of an instance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Story {
    #[serde(skip)]
    pub(super) now: Timestamp,
    #[serde(flatten)]
    pub(super) row: Row,
    /// What happened, in the order in which the tracker took it in.
    pub(super) timeline: Vec<Moment>,
    /// What is to happen next, and who should do it; `None`: the flow is not known.
    pub(super) missing: Option<Vec<Missing>>,
    /// Messages of it that were given up and not retried or discarded since, and those that stand in its way.
    pub(super) dead_letters: Vec<Letter>,
    /// Dead letters that stand in its way, of services whose databases were not read: who, and which.
    pub(super) dead_letters_elsewhere: Vec<(String, String)>,
    /// What the participants say that they did.
    pub(super) steps: Vec<StepView>,
    /// What an operator can do, by calls of the service that tracks it.
    pub(super) operations: Vec<Operation>,
}

/// Something that happened.
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

/// What a participant says that it did.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepView {
    pub(super) service: String,
    pub(super) step: String,
    pub(super) state: sagas::saga::StepState,
    pub(super) at: Timestamp,
    /// Until when an attempt may be running.
    pub(super) until: Option<Timestamp>,
    pub(super) message_id: String,
}

impl Story {
    /// What the services know of `tracked` at `now`.
    pub(super) async fn of(services: &Services, flows: &Flows, tracked: &Tracked, now: Timestamp) -> Result<Self, Trouble> {
        let instance = &tracked.instance;
        let chart = flows.chart(&tracked.service, &instance.key.saga, instance.version);
        let (mut timeline, mut steps) = (Vec::new(), Vec::new());
        for service in services.named(&tracked.service) {
            timeline.extend(service.sagas().history(&service.name, &instance.key).await?.into_iter().map(Moment::from));
        }
        for service in services.iter() {
            let here = service.sagas().steps(&service.name, &instance.key).await?;
            steps.extend(here.into_iter().map(|step| StepView::of(&service.name, step)));
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

/// The dead letters of an instance: those that are open, and those that stand in its way.
async fn given_up(
    services: &Services,
    tracked: &Tracked,
    chart: Option<&Chart>,
) -> Result<(Vec<Letter>, Vec<(String, String)>), Trouble> {
    let instance = &tracked.instance;
    let (mut found, mut elsewhere) = (Vec::new(), Vec::new());
    for stopped in &instance.known.stopped {
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
            if letter.key.as_ref() == Some(&instance.key.id) && letter.is_of(chart) && !found.contains(&letter) {
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

impl StepView {
    fn of(service: &str, record: StepRecord) -> Self {
        let StepRecord { step, state, message_id, until, at, .. } = record;
        Self { service: service.to_owned(), step, state, at, until, message_id: message_id.to_string() }
    }
}
