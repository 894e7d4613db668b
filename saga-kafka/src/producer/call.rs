//! One call of `publish`: its records and their results.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use saga_core::transport::{Position, TransportError};
use tokio::sync::Notify;

use super::known::FirstRequest;

pub(super) type Answer = Result<Position, TransportError>;

/// The results of one call, as they arrive.
pub(super) struct Call {
    state: Mutex<State>,
    /// Notified when a result arrives that the caller waits for.
    moved: Notify,
}

#[derive(Default)]
struct State {
    answers: Vec<Option<Answer>>,
    /// The number of records that were passed to the client and are not reported yet.
    outstanding: usize,
    /// Whether a record has failed that later records of its partition must not overtake.
    broken: bool,
    /// For each topic, why a record failed for a reason other than a purge.
    causes: HashMap<String, String>,
    /// The records that were purged, and their topics.
    taken_back: Vec<(usize, String)>,
    /// The records of refused requests: any one of them may be the cause.
    suspects: Vec<usize>,
}

/// The context that a record carries through the client, back to its report.
pub(super) struct Ticket {
    call: Arc<Call>,
    index: usize,
    /// Set for the first record of a partition.
    introduction: Option<FirstRequest>,
}

impl Call {
    pub(super) fn new(records: usize) -> Arc<Self> {
        let state = State { answers: (0..records).map(|_| None).collect(), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), moved: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the record at `index` as passed to the client.
    pub(super) fn ticket(self: &Arc<Self>, index: usize, introduction: Option<FirstRequest>) -> Box<Ticket> {
        self.state().outstanding += 1;
        Box::new(Ticket { call: Arc::clone(self), index, introduction })
    }

    /// Sets the result of a record that was not passed to the client.
    pub(super) fn answer(&self, index: usize, answer: Answer) {
        self.state().answers[index] = Some(answer);
    }

    /// Whether a record has failed that later ones must not overtake.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Waits until a record has failed that later ones must not overtake.
    pub(super) async fn broken(&self) {
        loop {
            let moved = self.moved.notified();
            if self.is_broken() {
                return;
            }
            moved.await;
        }
    }

    /// Waits until every record is reported (`true`) or, unless `despite_failures`, one has failed while others are in flight
    /// (`false`).
    pub(super) async fn settled(&self, despite_failures: bool) -> bool {
        loop {
            let moved = self.moved.notified();
            {
                let state = self.state();
                if state.outstanding == 0 {
                    return true;
                }
                if state.broken && !despite_failures {
                    return false;
                }
            }
            moved.await;
        }
    }

    /// Takes the records of refused requests, in order; empty if it is only one, which then is the cause.
    pub(super) fn suspects(&self) -> Vec<usize> {
        let mut suspects = std::mem::take(&mut self.state().suspects);
        suspects.sort_unstable();
        if suspects.len() < 2 { Vec::new() } else { suspects }
    }

    /// Takes the results; `missing` creates the result of a record that was not reported.
    pub(super) fn answers(&self, missing: impl Fn() -> TransportError) -> Vec<Answer> {
        let mut state = self.state();
        let State { answers, causes, taken_back, .. } = &mut *state;
        // The reason of a purged record is the failure that caused the purge.
        for (index, topic) in taken_back.drain(..) {
            if let Some(cause) = causes.get(&topic) {
                answers[index] = Some(Err(TransportError::Unavailable(cause.clone())));
            }
        }
        answers.iter_mut().map(|answer| answer.take().unwrap_or_else(|| Err(missing()))).collect()
    }
}

impl Ticket {
    /// Reports that the record is stored at `position`.
    pub(super) fn stored(mut self, position: Position) {
        if let Some(introduction) = self.introduction.take() {
            introduction.stored(position.partition);
        }
        self.report(Ok(position), false);
    }

    /// Sets the result of the record. With `breaks`, later records of its partition must not overtake it.
    fn report(self, answer: Answer, breaks: bool) {
        {
            let mut state = self.call.state();
            state.outstanding -= 1;
            state.broken |= breaks;
            state.answers[self.index] = Some(answer);
            if state.outstanding > 0 && !state.broken {
                return;
            }
        }
        self.call.moved.notify_one();
    }

    /// Reports that a record of `topic` failed. The reason of `error` applies to this topic only.
    pub(super) fn failed(self, topic: &str, error: TransportError, taken_back: bool) {
        {
            let mut state = self.call.state();
            match &error {
                _ if taken_back => state.taken_back.push((self.index, topic.to_owned())),
                TransportError::Unavailable(cause) => {
                    state.causes.entry(topic.to_owned()).or_insert_with(|| cause.clone());
                }
                _ => {}
            }
        }
        // A record that can never be stored does not stop the records after it.
        let breaks = matches!(error, TransportError::Unavailable(_));
        self.report(Err(error), breaks);
    }

    /// Reports that the broker refuses the request that contained the record.
    pub(super) fn refused_with_others(self, answer: Answer) {
        self.call.state().suspects.push(self.index);
        self.report(answer, false);
    }

    /// Undoes `ticket`, because the client did not accept the record.
    pub(super) fn give_back(self) -> Option<FirstRequest> {
        self.call.state().outstanding -= 1;
        self.introduction
    }
}
