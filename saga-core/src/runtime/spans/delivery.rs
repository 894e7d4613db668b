//! The spans of deliveries, and of the commits that end them.

#[cfg(feature = "otel")]
use std::sync::{Mutex, PoisonError};

use super::{Kind, Moment, Span, messaging};
use crate::{
    message::{Envelope, TraceContext},
    runtime::{core::Core, item::Item},
};

/// The longest error text of a span, in characters.
const MAX_ERROR: usize = 300;

/// The span of one delivery, which may not have begun yet.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The context that its log lines and the records it leads to carry.
    pub(crate) context: TraceContext,
    /// Whether the span is exported.
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
    /// Returns the span for the delivery of the message in `envelope`.
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

    /// Returns a span with the same context that is not exported, because `self` is.
    pub(crate) fn beside(&self) -> Self {
        Self {
            #[cfg(feature = "otel")]
            told: false,
            #[cfg(feature = "otel")]
            state: Mutex::default(),
            context: self.context.clone(),
        }
    }
}

#[cfg(feature = "otel")]
impl Delivery {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the span. Only the first call counts: a transaction can run again.
    pub(crate) fn begins(&self, core: &Core) {
        let now = core.spans.begin(&self.context);
        if now.is_recorded() {
            let mut state = self.state();
            if !state.began.is_recorded() {
                state.began = now;
            }
        }
    }

    /// Sets the outcome. It replaces that of an earlier, failed transaction.
    pub(crate) fn comes_to(&self, outcome: &'static str) {
        if self.told {
            let mut state = self.state();
            (state.outcome, state.error) = (Some(outcome), None);
        }
    }

    /// Sets the outcome of a failure, with its kind and text.
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

    /// Exports the span after the effects of the delivery are durable.
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

/// The span of the commit of one transaction.
pub(crate) struct Commit(Moment);

impl Commit {
    pub(crate) fn begin<'i>(core: &Core, items: impl IntoIterator<Item = &'i Item>) -> Self {
        let told = core.spans.is_on() && items.into_iter().any(|item| item.span.has_begun());
        Self(if told { Moment::now() } else { Moment::default() })
    }

    /// Exports the spans of the commit and of `items`. The commit of one delivery is a child of its span; the commit of several has no
    /// parent, but links to them.
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
                // Sampled, because the deliveries that it links to are.
                let context = TraceContext::root(&core.ids);
                commit(&context).linked(links).with([("messaging.batch.message_count", count.into())])
            }
        };
        let group = [("messaging.consumer.group.name", (&*core.name).into())];
        core.spans.export(span.with(group).from(self.0, Moment::now()));
        items.into_iter().for_each(|item| item.span.ends(core, item));
    }
}

/// The commit in the database settles messages; the offsets are committed later.
fn commit(context: &TraceContext) -> Span {
    Span::new(context, "commit".to_owned(), Kind::Internal).with(messaging::operation("commit", "settle"))
}

/// Returns the beginning of a text.
pub(crate) fn brief(error: &str) -> String {
    error.chars().take(MAX_ERROR).collect()
}
