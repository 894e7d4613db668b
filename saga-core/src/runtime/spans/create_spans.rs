//! The spans of records that are written to the outbox. The `traceparent` of each record names the span of its creation, which is exported
//! after the commit.

use super::{Kind, Moment, Span, messaging};
use crate::{
    id::MessageId,
    message::{Context, Outgoing, Record},
    runtime::core::Core,
    time::Timestamp,
};

/// The spans of the records that one transaction creates. They are discarded if this is dropped without a commit.
#[derive(Default)]
pub(crate) struct CreateSpans(Vec<Span>);

impl CreateSpans {
    /// Returns the record of `event`, created within the context `within`, and notes its span.
    pub(crate) fn record(&mut self, core: &Core, id: &MessageId, event: Outgoing, within: &Context, now: Timestamp) -> Record {
        let began = core.spans.begin(&within.trace);
        let trace = within.trace.child(&core.ids);
        let name = event.name;
        let record = event.into_record_within(id, &core.name, now, within, &trace);
        if began.is_recorded() {
            let span = Span::new(&trace, format!("create {}", record.topic), Kind::Producer)
                .within(&within.trace)
                .with(messaging::operation("create", "create"))
                .with(messaging::of_record(core, &record))
                .with([("sagas.event", name.into())]);
            self.0.push(span.from(began, Moment::now()));
        }
        record
    }

    /// Notes the span of `copy`, a record that was received and is written to the outbox with its headers, within the span `within`.
    pub(crate) fn copy(&mut self, core: &Core, copy: &Record, within: &crate::message::TraceContext) {
        let began = core.spans.begin(within);
        if began.is_recorded() {
            let span = Span::new(&within.child(&core.ids), format!("create {}", copy.topic), Kind::Producer)
                .within(within)
                .with(messaging::operation("create", "create"))
                .with(messaging::of_record(core, copy));
            self.0.push(span.from(began, Moment::now()));
        }
    }

    /// Exports the spans after the commit.
    pub(crate) fn committed(self, core: &Core) {
        self.0.into_iter().for_each(|span| core.spans.export(span));
    }
}
