//! The spans of a delivery: the whole of it, and the commit that ends it.

#[cfg(feature = "otel")]
use std::sync::{Mutex, PoisonError};

use super::{Kind, Moment, Span, messaging};
use crate::{
    message::{Envelope, TraceContext},
    runtime::{core::Core, item::Item},
};

/// The longest text of an error that a span carries, in characters.
const MAX_ERROR: usize = 300;

/// The span of one delivery, as far as it is.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// What its log lines and the records it leads to are followed by.
    pub(crate) context: TraceContext,
    /// Whether it will be told.
    #[cfg(feature = "otel")]
    told: bool,
    #[cfg(feature = "otel")]
    state: Mutex<State>,
}

#[cfg(feature = "otel")]
#[derive(Debug, Default)]
struct State {
    began: Moment,
    outcome: Option<&'static str>,
    error: Option<(String, String)>,
}

impl Delivery {
    /// The delivery of the message in `envelope`.
    pub(crate) fn new(core: &Core, envelope: &Envelope) -> Self {
        let context = match &envelope.trace {
            Some(parent) => core.spans.follow(Some(parent), &core.ids),
            None => core.spans.begins(TraceContext::of_message(&envelope.source, envelope.id.as_str(), &core.ids)),
        };
        Self {
            #[cfg(feature = "otel")]
            told: core.spans.is_on() && context.is_sampled(),
            #[cfg(feature = "otel")]
            state: Mutex::default(),
            context,
        }
    }
}

#[cfg(feature = "otel")]
impl Delivery {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is done for the message. Of several beginnings the first counts: a transaction may run again.
    pub(crate) fn begins(&self, core: &Core) {
        let now = core.spans.begin(&self.context);
        if now.is_recorded() {
            let mut state = self.state();
            if !state.began.is_recorded() {
                state.began = now;
            }
        }
    }

    /// What came of it. The transaction before may have failed and said something else.
    pub(crate) fn comes_to(&self, outcome: &'static str) {
        if self.told {
            let mut state = self.state();
            (state.outcome, state.error) = (Some(outcome), None);
        }
    }

    /// It has failed: what follows, the kind of failure, and what it says.
    pub(crate) fn fails(&self, outcome: &'static str, kind: &'static str, error: &str) {
        if self.told {
            let mut state = self.state();
            state.outcome = Some(outcome);
            state.error = Some((kind.to_owned(), brief(error)));
        }
    }

    fn has_begun(&self) -> bool {
        self.told && self.state().began.is_recorded()
    }

    /// It is over: what it led to is durable.
    fn ends(&self, core: &Core, item: &Item) {
        if !self.told {
            return;
        }
        let state = std::mem::take(&mut *self.state());
        core.spans.end(state.began, || {
            let topic = &item.received.record.topic;
            Span::new(&self.context, format!("process {topic}"), Kind::Consumer)
                .within_remote(item.envelope.trace.as_ref().map(TraceContext::span_id))
                .with(messaging::operation("process", "process"))
                .with(messaging::of_item(core, item))
                .with([("sagas.outcome", super::Value::Word(state.outcome.unwrap_or("done")))])
                .failed(state.error)
        });
    }
}

#[cfg(not(feature = "otel"))]
impl Delivery {
    #[inline]
    pub(crate) fn begins(&self, _: &Core) {}

    #[inline]
    pub(crate) fn comes_to(&self, _: &'static str) {}

    #[inline]
    pub(crate) fn fails(&self, _: &'static str, _: &'static str, _: &str) {}

    #[inline]
    fn has_begun(&self) -> bool {
        false
    }

    #[inline]
    fn ends(&self, _: &Core, _: &Item) {}
}

/// The commit of a transaction of deliveries.
pub(crate) struct Commit(Moment);

impl Commit {
    pub(crate) fn begin<'i>(core: &Core, items: impl IntoIterator<Item = &'i Item>) -> Self {
        let told = core.spans.is_on() && items.into_iter().any(|item| item.span.has_begun());
        Self(if told { Moment::now() } else { Moment::default() })
    }

    /// It has committed, and with it `items` are over. Of one delivery it is a part; of several it is none, and links to them.
    pub(crate) fn ended<'i>(self, core: &Core, items: impl IntoIterator<Item = &'i Item>) {
        if !self.0.is_recorded() {
            return;
        }
        let items: Vec<_> = items.into_iter().filter(|item| item.span.has_begun()).collect();
        let span = match &items[..] {
            [] => return,
            [item] => commit(&item.span.context.child(&core.ids)).within(&item.span.context),
            several => {
                let links: Vec<_> = several.iter().map(|item| item.span.context.clone()).collect();
                let count = i64::try_from(links.len()).unwrap_or(i64::MAX);
                // Told because what it links to is.
                let context = TraceContext::root(&core.ids);
                commit(&context).linked(links).with([("messaging.batch.message_count", count.into())])
            }
        };
        let group = [("messaging.consumer.group.name", (&*core.name).into())];
        core.spans.tell(span.with(group).from(self.0, Moment::now()));
        items.into_iter().for_each(|item| item.span.ends(core, item));
    }
}

/// What settles messages is the commit of the database: the offsets follow it.
fn commit(context: &TraceContext) -> Span {
    Span::new(context, "commit".to_owned(), Kind::Internal).with(messaging::operation("commit", "settle"))
}

/// The beginning of a text.
pub(crate) fn brief(error: &str) -> String {
    error.chars().take(MAX_ERROR).collect()
}
