//! What is checked of flows before an app consumes anything: every step has its handler, once and in the right place, and nothing
//! is said that nobody hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Remote, Tracker};
use crate::{
    handler::Handler,
    message::EventType,
    runtime::Service,
    saga::{Chart, Definition, EventRef, Role, RoleKind},
    store::{OpenVersion, StoreError},
};

/// A service, here or in another process, as far as flows go.
struct Member<'m> {
    name: &'m str,
    handlers: &'m [Handler],
    trackers: &'m [Tracker],
    publishes: &'m [EventType],
    remote: bool,
}

/// A handler with a part in a flow.
#[derive(Clone, Copy)]
struct Claim<'m> {
    service: &'m str,
    handler: &'m Handler,
    role: &'m Role,
}

impl Claim<'_> {
    fn said(&self) -> String {
        format!("`{}` of service `{}`", self.handler.path(), self.service)
    }
}

/// Everything that is wrong with the flows that `services` take part in, one sentence each. `declared`: flows that the app says
/// it carries, whole; `outside`: events that others publish or take.
pub(crate) fn problems(
    services: &[Service],
    remotes: &[Remote],
    declared: &[Arc<Definition>],
    outside: &[EventType],
) -> Vec<String> {
    let here = services.iter().map(|service| Member {
        name: &service.name,
        handlers: &service.handlers,
        trackers: &service.trackers,
        publishes: &service.publishes,
        remote: false,
    });
    let elsewhere = remotes.iter().map(|remote| Member {
        name: &remote.name,
        handlers: &remote.handlers,
        trackers: &remote.trackers,
        publishes: &remote.publishes,
        remote: true,
    });
    let members: Vec<_> = here.chain(elsewhere).collect();
    let mut problems = Vec::new();
    names(&members, &mut problems);
    let mut flows: BTreeMap<&str, &Definition> = BTreeMap::new();
    let by_role = members.iter().flat_map(|member| member.handlers).filter_map(Handler::role).map(|role| &*role.saga);
    let tracked = members.iter().flat_map(|member| member.trackers).map(|tracker| &*tracker.definition);
    for definition in declared.iter().map(|definition| &**definition).chain(tracked).chain(by_role) {
        let known = *flows.entry(&definition.name).or_insert(definition);
        if known != definition {
            problems.push(format!("two different sagas are called `{}`; give one another `name`", definition.name));
        }
    }
    for definition in flows.values() {
        flow(definition, &members, &mut problems);
    }
    if !declared.is_empty() {
        heard(&members, &flows, outside, &mut problems);
    }
    problems.dedup();
    problems
}

fn names(members: &[Member<'_>], problems: &mut Vec<String>) {
    for remote in members.iter().filter(|member| member.remote) {
        if members.iter().filter(|member| member.name == remote.name).count() > 1 {
            problems.push(format!(
                "service `{}` runs here and is declared as remote, or is declared twice; a name is a consumer group, keep one",
                remote.name
            ));
        }
    }
    for event in
        members.iter().flat_map(|member| member.handlers).flat_map(|handler| handler.publishes().iter().chain(handler.rejects()))
    {
        let dead_letters = members.iter().any(|member| event.topic.strip_suffix(".dlt") == Some(member.name));
        if dead_letters || event.topic.starts_with("sagas.") {
            problems
                .push(format!("{} is on topic `{}`, which belongs to the framework; give it another", event.name, event.topic));
        }
    }
}

/// What is wrong with one flow.
fn flow(saga: &Definition, members: &[Member<'_>], problems: &mut Vec<String>) {
    let mut say = |problem: String| problems.push(format!("saga `{}`: {problem}", saga.name));
    let trackers: Vec<_> =
        members.iter().filter(|member| member.trackers.iter().any(|t| t.definition.name == saga.name)).map(|m| m.name).collect();
    match trackers.as_slice() {
        [_] => {}
        [] => say(format!(
            "no service tracks it; add `.tracks(Tracker::of::<{}>())` to the one that publishes {}, or declare that service with `App::remote`",
            saga.name, saga.starts
        )),
        several => say(format!("it is tracked by {}; one service keeps its instances", quoted(several))),
    }
    let claims: Vec<_> = members
        .iter()
        .flat_map(|member| member.handlers.iter().map(move |handler| (member.name, handler)))
        .filter_map(|(service, handler)| Some(Claim { service, handler, role: handler.role()? }))
        .filter(|claim| claim.role.saga.name == saga.name)
        .collect();
    let of = |step: &str, undo: bool| -> Vec<Claim<'_>> {
        claims.iter().filter(|claim| claim.role.step == step && (claim.role.kind == RoleKind::Undo) == undo).copied().collect()
    };
    for step in &saga.steps {
        let path = format!("{}::{}", saga.name, step.name);
        let actions = of(&step.name, false);
        once(&actions, &format!("does {path}"), &format!("`#[handler(step = {path})]`"), &mut say);
        let action = actions.first();
        if let Some(action) = action {
            if action.handler.requirements().batch {
                say(format!("{} takes a `Batch`; a step is done message by message: take `On<{}>`", action.said(), step.on));
            }
            if step.pivot && action.handler.requirements().work {
                say(format!("{} takes `Work`; the pivot decides in the transaction of its delivery: take `Tx`", action.said()));
            }
            if step.pivot && trackers.first().is_some_and(|tracker| *tracker != action.service) {
                say(format!(
                    "{} does the pivot, and service `{}` tracks the flow; one commit decides between pivot, cancel and deadline, so both belong in one service",
                    action.said(),
                    trackers[0]
                ));
            }
        }
        if step.undo.is_some() {
            let undos = of(&step.name, true);
            once(&undos, &format!("undoes {path}"), &format!("`#[handler(undo = {path})]`"), &mut say);
            if let (Some(action), Some(undo)) = (action, undos.first()) {
                if action.service != undo.service {
                    say(format!(
                        "{} does {path} and {} undoes it; what a step left behind is in the database of the service that did it, so both belong in one service",
                        action.said(),
                        undo.said()
                    ));
                }
                let unknown = undo.handler.requirements().undo.is_some_and(|undo| undo.may_be_unknown);
                if action.handler.requirements().work && !unknown {
                    say(format!(
                        "{} calls out, so that an attempt may be cut off before anybody knows what came of it: let {} take `Undo<Option<{}>>`",
                        action.said(),
                        undo.said(),
                        step.emits
                    ));
                }
            }
        }
    }
    abort(saga, &of(&saga.abort.name, false), trackers.first().copied(), &mut say);
}

/// A step has one handler.
fn once(claims: &[Claim<'_>], what: &str, attribute: &str, say: &mut impl FnMut(String)) {
    match claims {
        [_] => {}
        [] => say(format!(
            "nobody {what}; write {attribute} and give the handler to its service, or declare the service that runs elsewhere with `App::remote`"
        )),
        several => say(format!("{} each {what}; keep one", several.iter().map(Claim::said).collect::<Vec<_>>().join(" and "))),
    }
}

fn abort(saga: &Definition, claims: &[Claim<'_>], tracker: Option<&str>, say: &mut impl FnMut(String)) {
    let path = format!("{}::{}", saga.name, saga.abort.name);
    for event in &saga.abort.on {
        let taking: Vec<_> = claims.iter().filter(|claim| takes(claim.handler, event)).copied().collect();
        once(&taking, &format!("does {path} on {event}"), &format!("`#[handler(step = {path})]` on {event}"), say);
    }
    if saga.abort.deadline {
        let taking: Vec<_> = claims.iter().filter(|claim| claim.role.deadline).copied().collect();
        let attribute = format!("`#[handler(step = {path})]` on `Deadline<{}>`", saga.name);
        once(&taking, &format!("does {path} when the deadline has passed"), &attribute, say);
    }
    for claim in claims {
        if tracker.is_some_and(|tracker| tracker != claim.service) {
            say(format!(
                "{} gives the flow up, and another service tracks it; one commit decides, so both belong in one service",
                claim.said()
            ));
        }
        if claim.handler.requirements().work || claim.handler.requirements().batch {
            say(format!(
                "{} gives the flow up, which is decided in the transaction of one delivery: take `On<..>` and `Tx`",
                claim.said()
            ));
        }
    }
}

fn takes(handler: &Handler, event: &EventRef) -> bool {
    handler.accepts().iter().any(|taken| taken.name == event.name && taken.topic == event.topic)
}

/// In an app that carries its flows whole, everything that is published is taken by somebody, and what is taken is published.
fn heard(members: &[Member<'_>], flows: &BTreeMap<&str, &Definition>, outside: &[EventType], problems: &mut Vec<String>) {
    type Named = BTreeSet<(&'static str, &'static str)>;
    let named = |event: &EventType| (event.topic, event.name);
    let outside: Named = outside.iter().map(named).collect();
    let taken: Named = members.iter().flat_map(|member| member.handlers).flat_map(Handler::accepts).map(named).collect();
    let tracked: BTreeSet<(&str, &str)> =
        flows.values().flat_map(|saga| saga.events()).map(|event| (event.topic.as_str(), event.name.as_str())).collect();
    let mut published: BTreeSet<(&str, &str)> =
        flows.values().map(|saga| (saga.starts.topic.as_str(), saga.starts.name.as_str())).collect();
    let cancels = flows.values().filter(|saga| saga.abort.cancel);
    published.extend(cancels.map(|saga| (saga.aborts.topic.as_str(), saga.aborts.name.as_str())));
    for member in members {
        let by_handlers = member.handlers.iter().flat_map(|handler| {
            handler.publishes().iter().chain(handler.rejects()).map(move |event| (event, format!("`{}`", handler.path())))
        });
        let own = member.publishes.iter().map(|event| (event, format!("service `{}`", member.name)));
        for (event, by) in by_handlers.chain(own) {
            published.insert(named(event));
            if !taken.contains(&named(event)) && !outside.contains(&named(event)) && !tracked.contains(&named(event)) {
                problems.push(format!(
                    "{} is published by {by} and taken by nobody; handle it, or say with `App::outside::<{}>()` that others do",
                    event.name, event.name
                ));
            }
        }
    }
    for member in members.iter().filter(|member| !member.remote) {
        for handler in member.handlers {
            for event in handler.accepts() {
                if !published.contains(&named(event)) && !outside.contains(&named(event)) {
                    problems.push(format!(
                        "`{}` of service `{}` waits for {}, which nobody publishes; say with `Service::publishes` who does outside a handler, \
                         or with `App::outside::<{}>()` that others do",
                        handler.path(), member.name, event.name, event.name
                    ));
                }
            }
        }
    }
}

/// What is wrong with the instances that have not ended: a version that this program does not know, or knows in another shape.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn open_versions(service: &Service) -> Result<Vec<String>, StoreError> {
    if service.trackers.is_empty() {
        return Ok(Vec::new());
    }
    let sagas = service.database.store().sagas();
    let (open, stored) = (sagas.open_versions(&service.name).await?, sagas.definitions(&service.name).await?);
    let mut problems = Vec::new();
    for OpenVersion { saga, version, instances } in &open {
        let is_it = |definition: &Definition| definition.name == *saga && definition.version == *version;
        let Some(tracker) = service.trackers.iter().find(|tracker| is_it(&tracker.definition)) else {
            problems.push(format!(
                "service `{}`: {instances} open instances of saga `{saga}` are of version {version}, which this program does not know; \
                 run the program that does until they have ended, or end them by hand",
                service.name
            ));
            continue;
        };
        let stored = stored.iter().find(|stored| stored.saga == *saga && stored.version == *version);
        let before = stored.and_then(|stored| serde_json::from_str::<Chart>(&stored.body).ok());
        if before.is_some_and(|before| !before.definition.has_the_shape_of(&tracker.definition)) {
            problems.push(format!(
                "service `{}`: {instances} open instances of saga `{saga}` began in another shape of its version {version}; give the new \
                 shape a `version` of its own, and run the program with the old one until they have ended",
                service.name
            ));
        }
    }
    Ok(problems)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}
