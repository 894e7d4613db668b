//! Events that the service handled in the past and that no handler takes now.
//!
//! A record of an event that the service does not handle is skipped, because a topic carries events for many services. But if the service
//! handled that event in the past, then its handler was renamed or removed, or another process runs a newer program that has it. Therefore
//! the service saves the names of its events in its database after it has started. A record of such an event becomes a dead letter, until
//! the event has a handler again or is listed in the setting `forget_events`. Such events do not prevent the start, because it must be
//! possible to roll back to an older program. A missing topic of such events does not prevent it either.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{conditions::Severity, core::Core};
use crate::{
    engine::admission::Remembered,
    handler::Handler,
    message::EventType,
    settings,
    store::{Assignment, StoreError, Taken, Taker},
    transport::TransportError,
};

/// The name of the condition for such events.
const EVENTS_UNHANDLED: &str = "events_unhandled";

/// Saves which events the handlers take, and which handler takes each, and deletes the events that are to be forgotten.
///
/// Called before the first record is handled and after every other check of the start. So a program that could not start leaves no events
/// behind that a corrected program would be warned about, and no handler gets an identity in the inbox that only the failed program used.
pub(crate) async fn note(core: &Core) -> Result<(), StoreError> {
    assign(core).await?;
    let handled = core.store().handled();
    let (forget, kept): (Vec<_>, Vec<_>) =
        handled.events(&core.name).await?.into_iter().partition(|event| is_forgotten(core, event));
    report_unused_entries(core, &forget, kept);
    handled.note(&core.name, &taken(&core.handlers), &forget).await
}

/// Logs a warning for each entry of `forget_events` that forgets nothing while there are events to forget: it may have a typing error.
fn report_unused_entries(core: &Core, forget: &[(String, String)], kept: Vec<(String, String)>) {
    if core.directory.unhandled(kept).events().next().is_none() {
        return;
    }
    for entry in &core.settings.forget_events {
        if !forget.iter().any(|(topic, event)| settings::forgets(entry, topic, &core.name_in_log(topic), event)) {
            tracing::warn!(
                service = &*core.name,
                entry,
                "the setting `forget_events` names `{entry}`, and the service has handled no such event: remove the entry, or correct it; \
                 the conditions `{EVENTS_UNHANDLED}` name the events that it can name"
            );
        }
    }
}

/// Returns the topic and name, including former names, of each event that the service's own handlers take.
fn taken(handlers: &[Handler]) -> Vec<(String, String)> {
    let own = handlers.iter().filter(|handler| !handler.is_of_framework());
    let events = own.flat_map(|handler| handler.accepts());
    let named: BTreeSet<_> =
        events.flat_map(|event| event.names().map(|name| (event.topic.to_owned(), name.to_owned()))).collect();
    named.into_iter().collect()
}

/// Saves which of the service's own handlers take each event, and gives each handler the same identity in the inbox as in earlier runs.
/// Logs a warning for each handler that no longer takes an event which other handlers still take.
async fn assign(core: &Core) -> Result<(), StoreError> {
    let own = |handler: &usize| !core.handlers[*handler].is_of_framework();
    let name = |handler: usize| core.handlers[handler].options().name;
    let taken = core.directory.takers().into_iter().map(|takers| {
        let accepted = takers.handlers.iter().flat_map(|handler| core.handlers[*handler].accepts());
        let names = accepted.filter(|event| event.topic == takers.topic && event.names().any(|name| name == takers.name));
        let also: BTreeSet<_> = names.flat_map(EventType::names).filter(|name| *name != takers.name).map(str::to_owned).collect();
        Taken {
            topic: takers.topic.to_owned(),
            event: takers.name.to_owned(),
            also: also.into_iter().collect(),
            handlers: takers.handlers.into_iter().filter(own).map(|handler| name(handler).to_owned()).collect(),
        }
    });
    let taken: Vec<_> = taken.collect();
    let Assignment { all, gone } = core.store().handled().assign(&core.name, &taken).await?;
    for Taker { topic, event, handler, .. } in gone {
        tracing::warn!(
            service = &*core.name,
            topic = &*core.name_in_log(&topic),
            event,
            handler,
            "the handler `{handler}` no longer takes {event}, and other handlers do: it will not handle the messages that it has not handled yet"
        );
    }
    let known = all.into_iter().filter(|taker| taker.takes && !taker.known_as.is_empty());
    let known: HashMap<_, Arc<str>> = known.map(|it| ((it.topic, it.event, it.handler), it.known_as.into())).collect();
    core.directory.set_known_as(|topic, event, handler| {
        let own = !core.handlers[handler].is_of_framework();
        let of = (topic.to_owned(), event.to_owned(), core.handlers[handler].options().name.to_owned());
        known.get(&of).filter(|_| own).cloned()
    });
    Ok(())
}

fn is_forgotten(core: &Core, (topic, event): &(String, String)) -> bool {
    core.settings.forgets(topic, &core.name_in_log(topic), event)
}

/// Adds the topics of events that the service handled in the past to the topics that it reads, if they can be read. With `can_wait`, nothing is
/// decided while the log does not answer. Returns whether it is decided.
pub(crate) async fn join(core: &Core, can_wait: bool) -> Result<bool, StoreError> {
    let remembered = remembered(core).await?;
    let before: BTreeSet<_> = remembered.topics().map(str::to_owned).collect();
    let (mut topics, mut unread) = (core.topics().to_vec(), BTreeMap::new());
    for topic in before {
        if topics.contains(&topic) {
            continue;
        }
        match core.transport.offsets(&topic, None).await {
            Ok(_) => topics.push(topic),
            Err(TransportError::Unavailable(_)) if can_wait && core.transport.check().await.is_err() => {
                show(core, remembered);
                return Ok(false);
            }
            Err(error) => drop(unread.insert(topic, error.to_string())),
        }
    }
    topics.sort_unstable();
    core.set_topics(topics, unread);
    show(core, remembered);
    Ok(true)
}

async fn remembered(core: &Core) -> Result<Remembered, StoreError> {
    let events = core.store().handled().events(&core.name).await?;
    Ok(core.directory.unhandled(events.into_iter().filter(|event| !is_forgotten(core, event))))
}

/// Updates the set of remembered events that no handler takes, and their conditions.
pub(crate) async fn look(core: &Core) -> Result<(), StoreError> {
    let remembered = remembered(core).await?;
    if remembered != *core.remembered() {
        show(core, remembered);
    }
    Ok(())
}

/// Stores what is `remembered`, and updates the conditions.
fn show(core: &Core, remembered: Remembered) {
    let before = pairs(core);
    core.remember(remembered);
    let (now, after) = (core.clock.now(), pairs(core));
    for (topic, event) in &after {
        let name = core.name_in_log(topic);
        let detail = match core.unread(topic) {
            None => format!(
                "the service handled {event} of topic `{name}` before, and none of its handlers takes it now: its records are \
                 dead-lettered. If the event has a new name, add `also = [\"{event}\"]` to it; otherwise restore its handler or, if it is \
                 no longer needed, name `{name}/{event}` in the setting `forget_events`"
            ),
            Some(error) => format!(
                "the service handled {event} of topic `{name}` before, none of its handlers takes it now, and the topic is not read, \
                 because it could not be read when the service started: {error}. If it was deleted for good, name `{name}/*` in the \
                 setting `forget_events`; otherwise make it readable, and restart the service"
            ),
        };
        core.conditions.raise(EVENTS_UNHANDLED, &format!("{name}/{event}"), Severity::Warning, detail, now);
    }
    for (topic, event) in before.iter().filter(|event| !after.contains(event)) {
        core.conditions.clear(EVENTS_UNHANDLED, &format!("{}/{event}", core.name_in_log(topic)), now);
    }
}

fn pairs(core: &Core) -> Vec<(String, String)> {
    core.remembered().events().map(|(topic, event)| (topic.to_owned(), event.to_owned())).collect()
}
