//! Records on their way into the outbox: each names in its `traceparent` the span of its making, which is told once it has committed.

use super::{Kind, Moment, Span, messaging};
use crate::{
    id::MessageId,
    message::{Context, Outgoing, Record},
    runtime::core::Core,
    time::Timestamp,
};

/// The spans of the records that one transaction makes. Dropped, none of them was made.
#[derive(Default)]
pub(crate) struct Making(Vec<Span>);

impl Making {
    /// The record of `event`, which comes of what `within` says: its own span is a new one within that one.
    pub(crate) fn record(&mut self, core: &Core, id: &MessageId, event: Outgoing, within: &Context, now: Timestamp) -> Record {
        let began = core.spans.begin(&within.trace);
        let trace = within.trace.child(&core.ids);
        let name = event.name;
        let record = event.into_record_within(id, &core.name, now, within, &trace);
        if began.is_recorded() {
            let span = Span::new(&trace, format!("create {}", record.topic), Kind::Producer)
                .within(&within.trace)
                .with(messaging::operation("create", "create"))
                .with(messaging::of_record(&record))
                .with([("sagas.event", name.into())]);
            self.0.push(span.from(began, Moment::now()));
        }
        record
    }

    /// `copy` is of a record that was received, with its headers, and leaves within the span of `within`.
    pub(crate) fn copy(&mut self, core: &Core, copy: &Record, within: &crate::message::TraceContext) {
        let began = core.spans.begin(within);
        if began.is_recorded() {
            let span = Span::new(&within.child(&core.ids), format!("create {}", copy.topic), Kind::Producer)
                .within(within)
                .with(messaging::operation("create", "create"))
                .with(messaging::of_record(copy));
            self.0.push(span.from(began, Moment::now()));
        }
    }

    /// They have committed.
    pub(crate) fn committed(self, core: &Core) {
        self.0.into_iter().for_each(|span| core.spans.tell(span));
    }
}
