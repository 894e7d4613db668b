//! Checks sagas before an app starts to consume. In every saga, what the services of this program do must be done once and in the right
//! service. In a saga that the app declares as complete, every step must also have a handler, and every event a publisher and a consumer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Participant, Remote, Tracker, remote::RemoteStep};
use crate::{
    extract::Requirements,
    handler::Handler,
    message::EventType,
    runtime::Service,
    saga::{Chart, Definition, EventRef, Role, RoleKind, Step},
    store::{OpenVersion, Store, StoreError},
};

impl<'m> Participant<'m> {
    /// Returns what the service does in the saga `saga`.
    fn assignments(&self, saga: &str) -> impl Iterator<Item = StepAssignment<'m>> {
        let (service, remote) = (self.name, self.remote);
        let by_handlers = self.handlers.iter().filter_map(move |handler| {
            let role = handler.role()?;
            let (saga, step, undo) = (&*role.saga, role.step, role.kind == RoleKind::Undo);
            Some((saga, StepAssignment { service, remote, step, undo, by: Some((handler, role)) }))
        });
        let declared = self.steps.iter().map(move |declared| {
            let RemoteStep { saga, step, undo } = declared;
            (&**saga, StepAssignment { service, remote, step, undo: *undo, by: None })
        });
        by_handlers.chain(declared).filter(move |(of, _)| of.name == saga).map(|(_, assignment)| assignment)
    }
}

/// A service's part in a saga: one step that it does or undoes.
#[derive(Clone, Copy)]
struct StepAssignment<'m> {
    service: &'m str,
    remote: bool,
    step: &'m str,
    undo: bool,
    /// The handler and its role; `None` for a remote service that is declared by its steps.
    by: Option<(&'m Handler, &'m Role)>,
}

impl StepAssignment<'_> {
    fn describe(&self) -> String {
        match self.by {
            Some((handler, _)) => format!("`{}` of service `{}`", handler.path(), self.service),
            None => format!("service `{}`", self.service),
        }
    }

    fn requirements(&self) -> Option<&Requirements> {
        self.by.map(|(handler, _)| handler.requirements())
    }

    /// Whether the assignment includes the abort on `event`.
    fn takes(&self, event: &EventRef) -> bool {
        self.by.is_none_or(|(handler, _)| {
            handler.accepts().iter().any(|taken| taken.name == event.name && taken.topic == event.topic)
        })
    }

    fn takes_deadline(&self) -> bool {
        self.by.is_none_or(|(_, role)| role.deadline)
    }
}

/// Returns all problems of the sagas that `services` take part in, one sentence each. `declared` are the sagas that the app declares as
/// complete, `outside` the events that other systems publish or consume.
pub(crate) fn problems(
    services: &[Service],
    remotes: &[Remote],
    declared: &[Arc<Definition>],
    outside: &[EventType],
) -> Vec<String> {
    let members: Vec<_> = services.iter().map(Participant::from).chain(remotes.iter().map(Participant::from)).collect();
    let mut problems = Vec::new();
    names(&members, &mut problems);
    let mut sagas: BTreeMap<&str, &Definition> = BTreeMap::new();
    let by_role = members.iter().flat_map(|member| member.handlers).filter_map(Handler::role).map(|role| &*role.saga);
    let tracked = members.iter().flat_map(|member| member.trackers).map(|tracker| &*tracker.definition);
    let by_step = members.iter().flat_map(|member| member.steps).map(|step| &*step.saga);
    for definition in declared.iter().map(|definition| &**definition).chain(tracked).chain(by_role).chain(by_step) {
        let known = *sagas.entry(&definition.name).or_insert(definition);
        if known != definition {
            problems.push(format!("two different sagas are called `{}`; give one another `name`", definition.name));
        }
    }
    for definition in sagas.values() {
        let whole = declared.iter().any(|declared| declared.name == definition.name);
        one_saga(definition, &members, whole, &mut problems);
    }
    if !declared.is_empty() {
        unconsumed_events(&members, &sagas, outside, &mut problems);
    }
    problems.dedup();
    problems
}

fn names(members: &[Participant<'_>], problems: &mut Vec<String>) {
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

/// Collects the problems of one saga: of all of it if `whole` is set, otherwise of what the services of this program do in it.
fn one_saga(saga: &Definition, members: &[Participant<'_>], whole: bool, problems: &mut Vec<String>) {
    let mut report = |problem: String| problems.push(format!("saga `{}`: {problem}", saga.name));
    let assignments: Vec<_> = members.iter().flat_map(|member| member.assignments(&saga.name)).collect();
    let tracker = tracker(saga, members, &assignments, whole, &mut report);
    let tracked_here = tracker.is_some_and(|tracker| !tracker.remote);
    let of = |step: &str, undo: bool| -> Vec<StepAssignment<'_>> {
        assignments.iter().filter(|assignment| assignment.step == step && assignment.undo == undo).copied().collect()
    };
    for step in &saga.steps {
        let path = format!("{}::{}", saga.name, step.name);
        let (actions, undos) = (of(&step.name, false), of(&step.name, true));
        let (does, undoes) = (format!("does {path}"), format!("undoes {path}"));
        let here = |assignments: &[StepAssignment<'_>]| {
            assignments.iter().find(|assignment| !assignment.remote).map(StepAssignment::describe)
        };
        let reason = match (here(&undos), step.pivot && tracked_here) {
            _ if whole => Some(Reason::Whole),
            (Some(undo), _) => Some(Reason::Counterpart(format!("{undo} {undoes}"))),
            (None, true) => Some(Reason::Tracked),
            (None, false) => None,
        };
        check_single_handler(&actions, &does, &format!("`#[handler(step = {path})]`"), reason, &mut report);
        if step.undo.is_some() {
            let reason = if whole {
                Some(Reason::Whole)
            } else {
                here(&actions).map(|action| Reason::Counterpart(format!("{action} {does}")))
            };
            check_single_handler(&undos, &undoes, &format!("`#[handler(undo = {path})]`"), reason, &mut report);
        }
        let Some(action) = actions.first() else { continue };
        if action.requirements().is_some_and(|taken| taken.batch) {
            report(format!("{} takes a `Batch`; a step is done message by message: take `On<{}>`", action.describe(), step.on));
        }
        if step.pivot && action.requirements().is_some_and(|taken| taken.work) {
            report(format!(
                "{} takes `Work`; the pivot decides in the transaction of its delivery: take `Tx`",
                action.describe()
            ));
        }
        if step.pivot
            && let Some(tracker) = tracker.filter(|tracker| tracker.name != action.service)
        {
            report(format!(
                "{} does the pivot, and service `{}` tracks the saga; one commit decides between pivot, cancel and deadline, so both belong in one service",
                action.describe(),
                tracker.name
            ));
        }
        if let Some(undo) = undos.first().filter(|_| step.undo.is_some()) {
            undone_where_it_is_done(step, &path, action, undo, &mut report);
        }
    }
    let reason = if whole { Some(Reason::Whole) } else { tracked_here.then_some(Reason::Tracked) };
    abort(saga, &of(&saga.abort.name, false), tracker, reason.as_ref(), &mut report);
}

/// Returns the service that tracks the instances, if it is known.
fn tracker<'m>(
    saga: &Definition,
    members: &'m [Participant<'m>],
    assignments: &[StepAssignment<'_>],
    whole: bool,
    report: &mut impl FnMut(String),
) -> Option<&'m Participant<'m>> {
    let tracks = |member: &&Participant<'_>| member.trackers.iter().any(|tracker| tracker.definition.name == saga.name);
    let trackers: Vec<_> = members.iter().filter(tracks).collect();
    let is_decider = |assignment: &&StepAssignment<'_>| {
        !assignment.remote
            && !assignment.undo
            && (assignment.step == saga.abort.name || saga.step(assignment.step).is_some_and(|step| step.pivot))
    };
    match (trackers.as_slice(), assignments.iter().find(is_decider)) {
        ([_], _) => {}
        ([], _) if whole => report(format!(
            "no service tracks it; add `.tracks(Tracker::of::<{}>())` to the one that publishes {}, or declare that service with `App::remote`",
            saga.name, saga.starts
        )),
        ([], Some(decider)) => report(format!(
            "{} does {}::{}, and its service does not track the saga; one commit decides, so add `.tracks(Tracker::of::<{}>())` to \
             service `{}`",
            decider.describe(),
            saga.name,
            decider.step,
            saga.name,
            decider.service
        )),
        ([], None) => {}
        (several, _) => {
            let names: Vec<_> = several.iter().map(|member| member.name).collect();
            report(format!("it is tracked by {}; one service keeps its instances", quoted(&names)));
        }
    }
    trackers.first().copied()
}

/// Why a step must have a handler.
#[derive(Clone)]
enum Reason {
    /// The app declares the saga as complete.
    Whole,
    /// A service of this program tracks the saga and decides its instances.
    Tracked,
    /// A handler of this program does the step or undoes it, and the other handler belongs to the same service. The text names the first.
    Counterpart(String),
}

/// A step must have exactly one handler, or none if there is no `reason` for one.
fn check_single_handler(
    assignments: &[StepAssignment<'_>],
    what: &str,
    attribute: &str,
    reason: Option<Reason>,
    report: &mut impl FnMut(String),
) {
    match (assignments, reason) {
        ([_], _) | ([], None) => {}
        ([], Some(Reason::Whole)) => report(format!(
            "no handler {what}; write {attribute} and give the handler to its service, or declare the service that runs elsewhere with `App::remote`"
        )),
        ([], Some(Reason::Tracked)) => report(format!(
            "no handler {what}; write {attribute} and give the handler to the service that tracks the saga: one commit decides"
        )),
        ([], Some(Reason::Counterpart(other))) => {
            report(format!("{other}, and no handler {what}; write {attribute} and give the handler to the same service"));
        }
        (several, _) => {
            report(format!(
                "{} each {what}; keep one",
                several.iter().map(StepAssignment::describe).collect::<Vec<_>>().join(" and ")
            ));
        }
    }
}

fn undone_where_it_is_done(
    step: &Step,
    path: &str,
    action: &StepAssignment<'_>,
    undo: &StepAssignment<'_>,
    report: &mut impl FnMut(String),
) {
    if action.service != undo.service {
        report(format!(
            "{} does {path} and {} undoes it; what a step left behind is in the database of the service that did it, so both belong in one service",
            action.describe(),
            undo.describe()
        ));
    }
    let (Some(done), Some(undone)) = (action.requirements(), undo.requirements()) else { return };
    if done.work && !undone.undo.is_some_and(|undo| undo.may_be_unknown) {
        report(format!(
            "{} calls another system, so that an attempt may end before its result is known: let {} take `Undo<Option<{}>>`",
            action.describe(),
            undo.describe(),
            step.emits
        ));
    }
}

fn abort(
    saga: &Definition,
    assignments: &[StepAssignment<'_>],
    tracker: Option<&Participant<'_>>,
    reason: Option<&Reason>,
    report: &mut impl FnMut(String),
) {
    let path = format!("{}::{}", saga.name, saga.abort.name);
    let taking = |takes: &dyn Fn(&StepAssignment<'_>) -> bool| -> Vec<_> {
        assignments.iter().filter(|assignment| takes(assignment)).copied().collect()
    };
    for event in &saga.abort.on {
        let attribute = format!("`#[handler(step = {path})]` on {event}");
        check_single_handler(
            &taking(&|assignment| assignment.takes(event)),
            &format!("does {path} on {event}"),
            &attribute,
            reason.cloned(),
            report,
        );
    }
    if saga.abort.deadline {
        let attribute = format!("`#[handler(step = {path})]` on `Deadline<{}>`", saga.name);
        let what = format!("does {path} when the deadline has passed");
        check_single_handler(&taking(&|assignment| assignment.takes_deadline()), &what, &attribute, reason.cloned(), report);
    }
    for assignment in assignments {
        if tracker.is_some_and(|tracker| tracker.name != assignment.service) {
            report(format!(
                "{} aborts the saga, and another service tracks it; one commit decides, so both belong in one service",
                assignment.describe()
            ));
        }
        if assignment.requirements().is_some_and(|taken| taken.work || taken.batch) {
            report(format!(
                "{} aborts the saga, which is decided in the transaction of one delivery: take `On<..>` and `Tx`",
                assignment.describe()
            ));
        }
    }
}

/// Checks an app that declares its sagas as complete: every published event must be consumed, and every consumed event published.
fn unconsumed_events(
    members: &[Participant<'_>],
    sagas: &BTreeMap<&str, &Definition>,
    outside: &[EventType],
    problems: &mut Vec<String>,
) {
    type Named = BTreeSet<(&'static str, &'static str)>;
    let named = |event: &EventType| (event.topic, event.name);
    let outside: Named = outside.iter().map(named).collect();
    let taken: Named = members.iter().flat_map(|member| member.handlers).flat_map(Handler::accepts).map(named).collect();
    let tracked: BTreeSet<(&str, &str)> =
        sagas.values().flat_map(|saga| saga.events()).map(|event| (event.topic.as_str(), event.name.as_str())).collect();
    // The events of a saga count as published, because a step without a handler is reported separately.
    let mut published = tracked.clone();
    for member in members {
        let by_handlers = member.handlers.iter().flat_map(|handler| {
            handler.publishes().iter().chain(handler.rejects()).map(move |event| (event, format!("`{}`", handler.path())))
        });
        let own = member.publishes.iter().map(|event| (event, format!("service `{}`", member.name)));
        for (event, by) in by_handlers.chain(own) {
            published.insert(named(event));
            let as_it_is = (event.topic, EventType::ANY);
            if !taken.contains(&named(event))
                && !taken.contains(&as_it_is)
                && !outside.contains(&named(event))
                && !tracked.contains(&named(event))
            {
                problems.push(format!(
                    "{} is published by {by}, and no service takes it; handle it, or declare with `App::outside::<{}>()` that other systems do",
                    event.name, event.name
                ));
            }
        }
    }
    for member in members.iter().filter(|member| !member.remote) {
        for handler in member.handlers {
            for event in handler.accepts().iter().filter(|event| !event.is_any()) {
                if !published.contains(&named(event)) && !outside.contains(&named(event)) {
                    problems.push(format!(
                        "`{}` of service `{}` waits for {}, which no service publishes; declare with `Service::publishes` that a service \
                         does outside a handler, or with `App::outside::<{}>()` that other systems do",
                        handler.path(), member.name, event.name, event.name
                    ));
                }
            }
        }
    }
}

/// Returns the problems of the instances that have not ended: versions that this program does not know, or knows in another shape.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn open_versions(service: &str, store: &dyn Store, trackers: &[Tracker]) -> Result<Vec<String>, StoreError> {
    if trackers.is_empty() {
        return Ok(Vec::new());
    }
    let sagas = store.sagas();
    let (open, stored) = (sagas.open_versions(service).await?, sagas.definitions(service).await?);
    let mut problems = Vec::new();
    for OpenVersion { saga, version, instances } in &open {
        let is_it = |definition: &Definition| definition.name == *saga && definition.version == *version;
        let Some(tracker) = trackers.iter().find(|tracker| is_it(&tracker.definition)) else {
            problems.push(format!(
                "service `{service}`: {instances} open instances of saga `{saga}` are of version {version}, which this program does not \
                 have; run the program that has it until they have ended, or end them by hand"
            ));
            continue;
        };
        let stored = stored.iter().find(|stored| stored.saga == *saga && stored.version == *version);
        let before = stored.and_then(|stored| serde_json::from_str::<Chart>(&stored.body).ok());
        if before.is_some_and(|before| !before.definition.has_the_shape_of(&tracker.definition)) {
            problems.push(format!(
                "service `{service}`: {instances} open instances of saga `{saga}` began in another shape of its version {version}; give the new \
                 shape a `version` of its own, and run the program with the old one until they have ended"
            ));
        }
    }
    Ok(problems)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}
