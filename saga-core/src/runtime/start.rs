//! The checks of an app before it consumes anything.

use std::collections::{BTreeMap, BTreeSet};

use super::service::Service;
use crate::{
    engine::watermark::Watermark,
    handler::{AfterDeadLetter, Handler},
    message::Event,
    saga::{RetryDeadLetter, StepGivenUp},
    settings::Settings,
    transport::{TopicExpectation, TopicNames, TopicSpec},
};

/// The framework's own topics, by their names in the code.
const OWN: [&str; 2] = [StepGivenUp::TOPIC, RetryDeadLetter::TOPIC];

/// Returns every problem of `services` as a sentence. `topics` has the names of topics in the log.
pub(crate) fn problems(services: &[Service], topics: &TopicNames) -> Vec<String> {
    let mut problems = Vec::new();
    if services.is_empty() {
        problems.push("the app has no service; add one with `App::service`".to_owned());
    }
    let mut names = BTreeSet::new();
    for service in services {
        problems.extend(service.problems.iter().cloned());
        let name = &service.name;
        if !names.insert(name) {
            problems.push(format!("two services are called `{name}`; a name is a consumer group, give each its own"));
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > 200 || !name.bytes().all(legal) {
            problems.push(format!("`{name}` cannot name a service; use 1 to 200 of a-z A-Z 0-9 . _ -"));
        }
        handlers(service, topics, &mut problems);
        settings(service, &mut problems);
        let found = service.servers.problems(std::slice::from_ref(service));
        problems.extend(found.into_iter().map(|problem| format!("service `{name}`: {problem}")));
    }
    types(services, &mut problems);
    problems
}

/// Checks that the handlers of one event can be distinguished and that every `State` that a handler takes is provided.
fn handlers(service: &Service, names: &TopicNames, problems: &mut Vec<String>) {
    let name = &service.name;
    let mut taken: BTreeMap<_, Vec<(&str, &Handler)>> = BTreeMap::new();
    for handler in &service.handlers {
        let path = handler.path();
        problems.extend(handler.problems().iter().map(|problem| format!("service `{name}`: {problem}")));
        for event in handler.accepts() {
            for called in event.names() {
                taken.entry((event.topic, called)).or_default().push((event.name, handler));
            }
        }
        let own = handler.accepts().iter().filter(|_| !handler.is_of_framework());
        let taken_too = own.flat_map(|event| event.names().map(|called| (event.topic, called)));
        for (topic, event) in taken_too.filter(|(topic, event)| service.settings.forgets(topic, &names.of(topic), event)) {
            problems.push(format!(
                "service `{name}`: the setting `forget_events` names {event}, which `{path}` handles on topic `{topic}`; remove one of \
                 them, or name only what is to be forgotten: an event of another topic as `topic/{event}`, events of this one by their \
                 names"
            ));
        }
        for (id, state) in &handler.requirements().states {
            if !service.state.contains(*id) {
                problems.push(format!("service `{name}`: `{path}` takes State<{state}>; share one with `Service::state(..)`"));
            }
        }
    }
    for ((topic, called), takers) in &taken {
        let (event, one) = takers[0];
        if let Some((other, by)) = takers.iter().find(|(other, _)| *other != event) {
            problems.push(format!(
                "service `{name}`: two events of topic `{topic}` are called {called}, or were (`also`): {event}, handled by `{}`, and {other}, \
                 handled by `{}`; a record of that name can be read as one of them only",
                one.path(),
                by.path()
            ));
        } else if *called == event && takers.len() > 1 {
            let handlers: Vec<_> = takers.iter().map(|(_, handler)| *handler).collect();
            listeners(name, event, &handlers, problems);
        }
    }
}

/// Checks the handlers that take one event. Their names must differ, because each delivery is identified by the name of its handler.
fn listeners(service: &str, event: &str, handlers: &[&Handler], problems: &mut Vec<String>) {
    let mut names: BTreeMap<&str, &Handler> = BTreeMap::new();
    for handler in handlers {
        let (path, name) = (handler.path(), handler.options().name);
        match names.insert(name, handler).map(Handler::path) {
            Some(other) if other == path => problems.push(format!(
                "service `{service}`: `{path}` is given to it twice, and takes {event} twice; give it once"
            )),
            Some(other) => problems.push(format!(
                "service `{service}`: {event} is handled by `{other}` and by `{path}`; several handlers of one event are distinguished by \
                 the names of their fns: give one another name"
            )),
            None => {}
        }
    }
    if handlers.len() > Watermark::PARTS {
        let (most, count) = (Watermark::PARTS, handlers.len());
        problems.push(format!(
            "service `{service}`: {event} is handled by {count} handlers; a service can have at most {most} handlers of one event"
        ));
    }
    let hold = |handler: &&&Handler| handler.options().after_dead_letter == AfterDeadLetter::Hold;
    if let (Some(one), Some(other)) = (handlers.iter().find(hold), handlers.iter().find(|handler| !hold(handler))) {
        problems.push(format!(
            "service `{service}`: of the handlers of {event}, `{}` has `on_dead = \"hold\"` and `{}` does not; a key is held for all of \
             them or for none: write it for both, or for neither",
            one.path(),
            other.path()
        ));
    }
}

fn settings(service: &Service, problems: &mut Vec<String>) {
    let (name, settings) = (&service.name, &service.settings);
    let limits = [
        ("max_record_bytes", settings.max_record_bytes),
        ("lanes", settings.lanes),
        ("batch_messages", settings.batch_messages),
        ("batch_ms", usize::try_from(settings.batch_ms).unwrap_or(usize::MAX)),
        ("queue_messages", settings.queue_messages),
        ("queue_bytes", settings.queue_bytes),
        ("concurrency", settings.concurrency),
        ("parked_per_key", settings.parked_per_key),
        ("parked_keys", settings.parked_keys),
        ("outbox_rows", settings.outbox_rows),
        ("inbox_retention_days", settings.inbox_retention_days as usize),
        ("begin_timeout_ms", usize::try_from(settings.begin_timeout_ms).unwrap_or(usize::MAX)),
        ("answer_timeout_ms", usize::try_from(settings.answer_timeout_ms).unwrap_or(usize::MAX)),
        ("topic_partitions", settings.topic_partitions as usize),
        ("stall_warning_s", usize::try_from(settings.stall_warning_s).unwrap_or(usize::MAX)),
    ];
    for (limit, _) in limits.iter().filter(|(_, value)| *value == 0) {
        problems.push(format!("service `{name}`: the setting `{limit}` is 0; it must be at least 1"));
    }
}

/// Checks that each event name belongs to one topic.
fn types(services: &[Service], problems: &mut Vec<String>) {
    let mut topics: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for service in services {
        for handler in &service.handlers {
            for event in
                handler.accepts().iter().chain(handler.publishes()).chain(handler.rejects()).filter(|event| !event.is_any())
            {
                let (topic, by) = *topics.entry(event.name).or_insert((event.topic, handler.options().name));
                if topic != event.topic {
                    problems.push(format!(
                        "{} is on topic `{topic}` for `{by}` and on topic `{}` for `{}`; an event has one topic",
                        event.name,
                        event.topic,
                        handler.options().name
                    ));
                }
            }
        }
    }
}

/// Returns the problems of the app's name and of the names of its topics in the log.
pub(crate) fn names(app: &str, services: &[Service], names: &TopicNames) -> Vec<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if app.is_empty() || app.len() > 100 || !app.bytes().all(legal) {
        return vec![format!(
            "`{app}` cannot name an app, because its topics are named after it; use 1 to 100 of a-z A-Z 0-9 . _ -"
        )];
    }
    let topics = topics(services);
    // A handler without a topic is reported separately.
    let topic_names = topics.iter().map(|topic| topic.name.as_str()).filter(|name| !name.is_empty());
    with_app_name(names.clone(), app).problems(topic_names)
}

/// Adds the name of the app to the names of the framework's own topics.
pub(crate) fn with_app_name(names: TopicNames, app: &str) -> TopicNames {
    names.with_app_name(app, OWN)
}

/// Returns the number of partitions to create `topic` with. The framework's own topics have one, because they carry few messages.
pub(crate) fn partitions(topic: &str, settings: &Settings) -> u32 {
    if OWN.contains(&topic) { 1 } else { settings.topic_partitions }
}

/// Returns the topics that the services read and write, ordered by name, with the requirements for each.
pub(crate) fn topics(services: &[Service]) -> Vec<TopicExpectation> {
    let mut topics: BTreeMap<String, TopicExpectation> = BTreeMap::new();
    for service in services {
        let settings = &service.settings;
        let events = service.handlers.iter().flat_map(|handler| {
            handler.accepts().iter().chain(handler.publishes()).chain(handler.rejects()).map(|event| event.topic.to_owned())
        });
        let takes_part = service.handlers.iter().any(|handler| handler.role().is_some());
        let signals = takes_part || !service.trackers.is_empty();
        let signals = OWN.into_iter().filter(|_| signals).map(str::to_owned);
        let own = service.publishes.iter().chain(service.trackers.iter().flat_map(|tracker| &tracker.events));
        let own = own.map(|event| event.topic.to_owned());
        let events = events.chain(own).chain(signals).map(|topic| (topic, false));
        for (name, copies) in events.chain([(format!("{}.dlt", service.name), true)]) {
            let partitions = partitions(&name, settings);
            let wanted = topics.entry(name.clone()).or_insert(TopicExpectation {
                name,
                partitions,
                record_bytes: settings.max_record_bytes,
                outage: settings.outage(),
                copies,
            });
            wanted.partitions = wanted.partitions.max(partitions);
            wanted.record_bytes = wanted.record_bytes.max(settings.max_record_bytes);
            wanted.outage = wanted.outage.max(settings.outage());
            wanted.copies &= copies;
        }
    }
    topics.into_values().collect()
}

/// Returns the topics that must exist.
pub(crate) fn specs(topics: &[TopicExpectation]) -> Vec<TopicSpec> {
    topics.iter().map(|topic| TopicSpec { name: topic.name.clone(), partitions: topic.partitions }).collect()
}

#[cfg(test)]
mod tests {
    use super::problems;
    use crate::{
        extract::{Meta, On},
        handler::{Handler, HandlerOptions},
        message::Raw,
        runtime::{App, Service},
        store::Database,
        transport::TopicNames,
    };

    #[test]
    fn a_handler_without_its_topic_is_one_problem() {
        let handler = Handler::new(HandlerOptions::new("transferred", "shop"), async |_: On<Raw>| ());
        let app = App::new("shop").service(Service::new("bank", Database::memory()).handlers([handler]));
        let problems = app.check();
        assert!(matches!(&problems[..], [one] if one.contains("names no topic")), "{problems:?}");
    }

    #[test]
    fn a_handler_that_cannot_be_called_is_a_problem_of_its_service() {
        let handler = Handler::new(HandlerOptions::new("reserve", "shop"), async |_: Meta| ());
        let service = Service::new("inventory", Database::memory()).handlers([handler]);
        assert_eq!(
            problems(&[service], &TopicNames::default()),
            ["service `inventory`: `shop::reserve` takes no event: give it an argument `On<E>` or `Batch<E>`"]
        );
    }
}
