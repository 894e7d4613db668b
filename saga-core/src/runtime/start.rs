//! What is checked before an app consumes anything.

use std::collections::{BTreeMap, BTreeSet};

use super::service::Service;
use crate::{
    message::Event,
    saga::{RetryDeadLetter, StepGivenUp},
    transport::{TopicExpectation, TopicSpec},
};

/// Everything that is wrong with `services`, one sentence each.
pub(crate) fn problems(services: &[Service]) -> Vec<String> {
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
        handlers(service, &mut problems);
        settings(service, &mut problems);
        #[cfg(feature = "http")]
        if service.listener.is_none() && (service.routes.is_some() || service.prefix.is_some()) {
            problems.push(format!(
                "service `{name}`: it has routes, and no listener that they are served on; give it one with `Service::listen(..)`, or \
                 mount the routes in an axum app of your own instead of giving them to the service"
            ));
        }
    }
    types(services, &mut problems);
    problems
}

/// A type is accepted once, and every shared value that is taken is there.
fn handlers(service: &Service, problems: &mut Vec<String>) {
    let name = &service.name;
    let mut taken = BTreeMap::new();
    for handler in &service.handlers {
        let path = handler.path();
        problems.extend(handler.problems().iter().map(|problem| format!("service `{name}`: {problem}")));
        for event in handler.accepts() {
            if let Some(other) = taken.insert((event.topic, event.name), path.clone()) {
                problems.push(format!(
                    "service `{name}`: {} is handled by `{other}` and by `{path}`; a service has one handler for a type",
                    event.name
                ));
            }
        }
        for (id, state) in &handler.requirements().states {
            if !service.state.contains(*id) {
                problems.push(format!("service `{name}`: `{path}` takes State<{state}>; share one with `Service::state(..)`"));
            }
        }
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
        ("outbox_rows", settings.outbox_rows),
        ("answer_timeout_ms", usize::try_from(settings.answer_timeout_ms).unwrap_or(usize::MAX)),
        ("topic_partitions", settings.topic_partitions as usize),
        ("stall_warning_s", usize::try_from(settings.stall_warning_s).unwrap_or(usize::MAX)),
    ];
    for (limit, _) in limits.iter().filter(|(_, value)| *value == 0) {
        problems.push(format!("service `{name}`: the setting `{limit}` is 0; it must be at least 1"));
    }
}

/// A name on the wire means one thing.
fn types(services: &[Service], problems: &mut Vec<String>) {
    let mut topics: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for service in services {
        for handler in &service.handlers {
            for event in handler.accepts().iter().chain(handler.publishes()).chain(handler.rejects()) {
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

/// The topics that the services read and write, in the order of their names, and what is needed of each.
pub(crate) fn topics(services: &[Service]) -> Vec<TopicExpectation> {
    let mut topics: BTreeMap<String, TopicExpectation> = BTreeMap::new();
    for service in services {
        let settings = &service.settings;
        let events = service.handlers.iter().flat_map(|handler| {
            handler.accepts().iter().chain(handler.publishes()).chain(handler.rejects()).map(|event| event.topic.to_owned())
        });
        let takes_part = service.handlers.iter().any(|handler| handler.role().is_some());
        let signals = takes_part || !service.trackers.is_empty();
        let signals = [StepGivenUp::TOPIC, RetryDeadLetter::TOPIC].into_iter().filter(|_| signals).map(str::to_owned);
        let own = service.publishes.iter().chain(service.trackers.iter().flat_map(|tracker| &tracker.events));
        let own = own.map(|event| event.topic.to_owned());
        let events = events.chain(own).chain(signals).map(|topic| (topic, false));
        for (name, copies) in events.chain([(format!("{}.dlt", service.name), true)]) {
            let wanted = topics.entry(name.clone()).or_insert(TopicExpectation {
                name,
                partitions: settings.topic_partitions,
                record_bytes: settings.max_record_bytes,
                outage: settings.outage(),
                copies,
            });
            wanted.partitions = wanted.partitions.max(settings.topic_partitions);
            wanted.record_bytes = wanted.record_bytes.max(settings.max_record_bytes);
            wanted.outage = wanted.outage.max(settings.outage());
            wanted.copies &= copies;
        }
    }
    topics.into_values().collect()
}

/// What has to be there of topics.
pub(crate) fn specs(topics: &[TopicExpectation]) -> Vec<TopicSpec> {
    topics.iter().map(|topic| TopicSpec { name: topic.name.clone(), partitions: topic.partitions }).collect()
}

#[cfg(test)]
mod tests {
    use super::problems;
    use crate::{
        extract::Meta,
        handler::{Handler, HandlerOptions},
        runtime::Service,
        store::Database,
    };

    #[test]
    fn a_handler_that_cannot_be_called_is_a_problem_of_its_service() {
        let handler = Handler::new(HandlerOptions::new("reserve", "shop"), async |_: Meta| ());
        let service = Service::new("inventory", Database::memory()).handlers([handler]);
        assert_eq!(
            problems(&[service]),
            ["service `inventory`: `shop::reserve` takes no event: give it an argument `On<E>` or `Batch<E>`"]
        );
    }
}
