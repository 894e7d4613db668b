//! One call of `publish`: its records, and what has been said of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use saga_core::transport::{Position, TransportError};
use tokio::sync::Notify;

pub(super) type Answer = Result<Position, TransportError>;

/// The answers to one call, as they come in.
pub(super) struct Call {
    state: Mutex<State>,
    /// Something that the caller waits for has happened.
    moved: Notify,
}

#[derive(Default)]
struct State {
    answers: Vec<Option<Answer>>,
    /// Records given to the client and not reported yet.
    outstanding: usize,
    /// A record failed that later ones of its partition must not pass.
    broken: bool,
    /// Why a record of a topic failed, of those that were not only taken back with others.
    causes: HashMap<String, String>,
    /// Records that were taken back, and their topics.
    taken_back: Vec<(usize, String)>,
    /// Records that were refused with others of their request, maybe because of one of those.
    suspects: Vec<usize>,
}

/// What goes through the client with a record and comes back with its report.
pub(super) struct Ticket {
    call: Arc<Call>,
    index: usize,
}

impl Call {
    pub(super) fn new(records: usize) -> Arc<Self> {
        let state = State { answers: (0..records).map(|_| None).collect(), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), moved: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the record at `index` as given to the client.
    pub(super) fn ticket(self: &Arc<Self>, index: usize) -> Box<Ticket> {
        self.state().outstanding += 1;
        Box::new(Ticket { call: Arc::clone(self), index })
    }

    /// Answers a record that never reached the client.
    pub(super) fn answer(&self, index: usize, answer: Answer) {
        self.state().answers[index] = Some(answer);
    }

    /// Whether a record failed that later ones must not pass.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Waits until every record is reported (`true`), or one failed while others are on their way (`false`).
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

    /// The records that were refused by the request, in order, if there were several.
    pub(super) fn suspects(&self) -> Vec<usize> {
        let mut suspects = std::mem::take(&mut self.state().suspects);
        suspects.sort_unstable();
        if suspects.len() < 2 { Vec::new() } else { suspects }
    }

    /// The answers; for what was never reported, `missing`.
    pub(super) fn answers(&self, missing: impl Fn() -> TransportError) -> Vec<Answer> {
        let mut state = self.state();
        let State { answers, causes, taken_back, .. } = &mut *state;
        // Of a record that was taken back because another one failed, the reason is that one's.
        for (index, topic) in taken_back.drain(..) {
            if let Some(cause) = causes.get(&topic) {
                answers[index] = Some(Err(TransportError::Unavailable(cause.clone())));
            }
        }
        answers.iter_mut().map(|answer| answer.take().unwrap_or_else(|| Err(missing()))).collect()
    }
}

impl Ticket {
    /// What the client says of the record. `breaks`: later records of its partition must not pass it.
    pub(super) fn report(self, answer: Answer, breaks: bool) {
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

    /// A record of `topic` failed for `error`, which says nothing of records of other topics.
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
        // What concerns a whole topic holds up nothing of it that others could pass.
        let breaks = matches!(error, TransportError::Unavailable(_));
        self.report(Err(error), breaks);
    }

    /// The broker refuses the request that the record was part of.
    pub(super) fn refused_with_others(self, answer: Answer) {
        self.call.state().suspects.push(self.index);
        self.report(answer, false);
    }

    /// The client did not take the record after all.
    pub(super) fn give_back(self) {
        self.call.state().outstanding -= 1;
    }
}
