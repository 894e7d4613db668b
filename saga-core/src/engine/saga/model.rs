//! A model of a saga in which every possible order of events is executed: messages come in any order and twice, an attempt that calls
//! another system is interrupted with or without an effect, and the instance is cancelled at any time.
//!
//! In each final state, every step that was done is either still done or undone exactly once, the instance has ended, and the pivot and the
//! abort were not both published. Until then, the state of the instance never goes back.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    barrier::{BarrierDecision, Mark, StepRecords},
    instance::{EventSeen, Instance},
    samples,
};
use crate::{
    id::MessageId,
    saga::{Definition, InstanceKey, InstanceState, LeftBehind, RoleKind, Step, StepRecord, StepState},
    time::Timestamp,
};

const NOW: Timestamp = Timestamp::from_millis(1_000);
const LATER: Timestamp = Timestamp::from_millis(99_000);

/// The service that tracks the instance and does the pivot and the abort. Each other step has a service with the step's name.
const TRACKER: &str = "order";

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Message {
    to: String,
    event: String,
}

/// An attempt that runs outside a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Running {
    message: Message,
    step: String,
    undo: Option<Option<LeftBehind>>,
}

#[derive(Debug, Clone)]
struct World<'f> {
    saga: &'f Definition,
    /// The step with handlers that call another system.
    calls_out: &'f str,
    in_flight: Vec<Message>,
    running: Vec<Running>,
    records: BTreeMap<String, Vec<StepRecord>>,
    /// The effect of each step on the other system, and the steps that can have no effect any longer.
    effects: BTreeMap<String, i32>,
    voided: BTreeSet<String>,
    instance: Instance,
    published: BTreeSet<String>,
    cancels: u8,
    copies: u8,
    crashes: u8,
}

impl<'f> World<'f> {
    fn new(saga: &'f Definition, calls_out: &'f str, copies: u8, crashes: u8) -> Self {
        let start = EventSeen { event: &saga.starts.name, id: "0", at: NOW };
        let mut world = Self {
            saga,
            calls_out,
            in_flight: Vec::new(),
            running: Vec::new(),
            records: BTreeMap::new(),
            effects: saga.steps.iter().filter(|step| !step.pivot).map(|step| (step.name.clone(), 0)).collect(),
            voided: BTreeSet::new(),
            instance: Instance::begin(saga, "7", start, "c", NOW, saga.deadline),
            published: BTreeSet::from([saga.starts.name.clone()]),
            cancels: 1,
            copies,
            crashes,
        };
        world.send(&saga.starts.name);
        world
    }

    fn service<'s>(&self, step: &'s str) -> &'s str
    where
        'f: 's,
    {
        if step == self.saga.pivot().name || step == self.saga.abort.name { TRACKER } else { step }
    }

    /// Sends `event` to all services that take it.
    fn send(&mut self, event: &str) {
        let mut to = BTreeSet::new();
        for step in &self.saga.steps {
            if step.on.name == event || step.undo.as_ref().is_some_and(|undo| undo.on.iter().any(|on| on.name == event)) {
                to.insert(self.service(&step.name).to_owned());
            }
        }
        if ![&self.saga.starts.name, &self.saga.aborts.name, &self.saga.pivot().emits.name].contains(&&event.to_owned()) {
            to.insert(TRACKER.to_owned());
        }
        self.in_flight.extend(to.into_iter().map(|to| Message { to, event: event.to_owned() }));
    }

    fn publish(&mut self, event: &str) {
        assert!(self.published.insert(event.to_owned()), "{event} was published twice");
        let own = [&self.saga.aborts.name, &self.saga.pivot().emits.name].contains(&&event.to_owned());
        if own {
            self.observe(event);
        }
        self.send(event);
    }

    fn observe(&mut self, event: &str) {
        let before = self.instance.state;
        let id = event.to_owned();
        self.instance.observe(self.saga, EventSeen { event, id: &id, at: NOW }, NOW, self.saga.deadline);
        assert!(self.instance.state >= before, "went back from {before:?} to {:?}", self.instance.state);
    }

    fn decide(&mut self, kind: RoleKind, step: &str, event: Option<&str>) -> BarrierDecision {
        let service = self.service(step).to_owned();
        let records = self.records.get(&service).map_or(&[][..], Vec::as_slice);
        let (decision, marks) = StepRecords { saga: self.saga, records }.decide(kind, step, event, NOW);
        for Mark { step, state } in marks {
            self.record(&service, &step, state, None, None);
        }
        decision
    }

    fn record(&mut self, service: &str, step: &str, state: StepState, record: Option<LeftBehind>, until: Option<Timestamp>) {
        let instance = InstanceKey { saga: self.saga.name.clone(), id: "7".to_owned() };
        let new = StepRecord { instance, step: step.to_owned(), state, record, message_id: MessageId::new("m"), until, at: NOW };
        let records = self.records.entry(service.to_owned()).or_default();
        records.retain(|present| present.step != step);
        records.push(new);
        records.sort_by(|one, other| one.step.cmp(&other.step));
    }

    fn state(&self, step: &str) -> Option<(StepState, Option<LeftBehind>)> {
        let record = self.records.get(self.service(step))?.iter().find(|record| record.step == step)?;
        Some((record.state, record.record.clone()))
    }

    /// Returns all possible successors of this state.
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        for at in 0..self.in_flight.len() {
            let mut taken = self.clone();
            let message = taken.in_flight.remove(at);
            taken.deliver(&message, &mut next);
            if self.copies > 0 {
                let mut copied = self.clone();
                copied.copies -= 1;
                copied.deliver(&message, &mut next);
            }
        }
        for at in 0..self.running.len() {
            let mut ended = self.clone();
            let running = ended.running.remove(at);
            ended.end(&running, &mut next);
            if self.crashes > 0 {
                for effect in [false, true] {
                    let mut crashed = self.clone();
                    crashed.crashes -= 1;
                    let running = crashed.running.remove(at);
                    crashed.crash(&running, effect);
                    next.push(crashed);
                }
            }
        }
        if self.cancels > 0 {
            let mut cancelled = self.clone();
            cancelled.cancels = 0;
            let abort = self.saga.abort.name.clone();
            if cancelled.decide(RoleKind::Abort, &abort, None) == BarrierDecision::Call {
                cancelled.record(TRACKER, &abort, StepState::Done, None, None);
                cancelled.publish(&self.saga.aborts.name);
            }
            next.push(cancelled);
        }
        next
    }

    /// Delivers `message`, and adds the possible results to `next`.
    fn deliver(mut self, message: &Message, next: &mut Vec<Self>) {
        let (saga, event) = (self.saga, message.event.as_str());
        if message.to == TRACKER {
            self.observe(event);
            if saga.abort.on.iter().any(|on| on.name == event)
                && self.decide(RoleKind::Abort, &saga.abort.name, Some(event)) == BarrierDecision::Call
            {
                self.record(TRACKER, &saga.abort.name, StepState::Done, None, None);
                self.publish(&saga.aborts.name);
            }
        }
        let mut worlds = vec![self];
        let here = |step: &&Step| if step.pivot { message.to == TRACKER } else { message.to == step.name };
        for step in saga.steps.iter().filter(here) {
            let undo = step.undo.as_ref().is_some_and(|undo| undo.on.iter().any(|on| on.name == event));
            if step.on.name != event && !undo {
                continue;
            }
            worlds = worlds.into_iter().flat_map(|world| world.call(message, &step.name, undo)).collect();
        }
        next.extend(worlds);
    }

    fn call(mut self, message: &Message, step: &str, undo: bool) -> Vec<Self> {
        let definition = self.saga.step(step).expect("a step");
        let kind = if undo {
            RoleKind::Undo
        } else if definition.pivot {
            RoleKind::Pivot
        } else {
            RoleKind::Step
        };
        let left = match self.decide(kind, step, Some(&message.event)) {
            BarrierDecision::Call => None,
            BarrierDecision::Undo(record) => Some(record),
            BarrierDecision::Wait(_) => {
                // The message is parked and delivered again later.
                self.in_flight.push(message.clone());
                return Vec::from_iter((!self.running.is_empty()).then_some(self));
            }
            BarrierDecision::Nothing(_) => return vec![self],
        };
        let running = Running { message: message.clone(), step: step.to_owned(), undo: left };
        if step == self.calls_out {
            let (state, record) = self.state(step).unwrap_or((StepState::Begun, None));
            self.record(step, step, state, record, Some(LATER));
            self.running.push(running);
            return vec![self];
        }
        let mut worlds = Vec::new();
        self.end(&running, &mut worlds);
        worlds
    }

    /// Ends an attempt, and adds the possible results to `next`.
    fn end(mut self, running: &Running, next: &mut Vec<Self>) {
        let step = self.saga.step(&running.step).expect("a step");
        let service = self.service(&step.name).to_owned();
        if let Some(left) = &running.undo {
            let undone = self.effects.insert(step.name.clone(), 0);
            self.voided.insert(step.name.clone());
            let record = self.state(&step.name).and_then(|(_, record)| record);
            self.record(&service, &step.name, StepState::Undone, record, None);
            if left.is_some() || undone == Some(1) {
                self.publish(&step.undo.as_ref().expect("an undo").emits.name.clone());
            }
            return next.push(self);
        }
        // The other system is idempotent: it answers as before.
        let done_before = self.effects.get(&step.name) == Some(&1);
        let voided = self.voided.contains(&step.name);
        if let Some(rejects) = step.rejects.as_ref().filter(|_| !done_before) {
            let mut refused = self.clone();
            refused.record(&service, &step.name, StepState::Rejected, None, None);
            refused.publish(&rejects.name);
            next.push(refused);
        }
        if !voided {
            self.effects.entry(step.name.clone()).and_modify(|effect| *effect = 1);
            self.record(&service, &step.name, StepState::Done, Some(LeftBehind { value: "{}".to_owned(), version: 1 }), None);
            self.publish(&step.emits.name.clone());
            next.push(self);
        }
    }

    /// The process dies during an attempt, which may already have had its effect. The message is delivered again.
    fn crash(&mut self, running: &Running, effect: bool) {
        let (state, record) = self.state(&running.step).expect("it was begun");
        self.record(&running.step, &running.step, state, record, None);
        match running.undo {
            None if effect && !self.voided.contains(&running.step) => {
                self.effects.insert(running.step.clone(), 1);
            }
            Some(_) if effect => {
                self.effects.insert(running.step.clone(), 0);
                self.voided.insert(running.step.clone());
            }
            _ => {}
        }
        self.in_flight.push(running.message.clone());
    }

    fn check_end(&self) {
        let place = format!("{self:#?}");
        let expected = match self.instance.state {
            InstanceState::Completed => 1,
            InstanceState::Aborted => 0,
            state => panic!("ended as {state:?}: {place}"),
        };
        for (step, effect) in &self.effects {
            assert_eq!(*effect, expected, "{step}: {place}");
        }
        assert!(self.instance.ended_at.is_some(), "something is outstanding: {place}");
        assert!(self.instance.expected(self.saga).is_empty(), "{place}");
        let both = self.published.contains(&self.saga.aborts.name) && self.published.contains(&self.saga.pivot().emits.name);
        assert!(!both, "confirmed and cancelled: {place}");
    }

    fn identity(&self) -> String {
        let mut in_flight = self.in_flight.clone();
        in_flight.sort();
        let mut running = self.running.clone();
        running.sort();
        format!(
            "{in_flight:?}{running:?}{:?}{:?}{:?}{:?}{:?}{:?}{}{}{}",
            self.records.values().flatten().map(|r| (&r.step, r.state, r.until.is_some())).collect::<Vec<_>>(),
            self.effects,
            self.voided,
            self.published,
            self.instance.state,
            self.instance.body.seen.keys().collect::<Vec<_>>(),
            self.cancels,
            self.copies,
            self.crashes
        )
    }
}

/// Executes everything that can happen, and returns the number of final states by the state of the instance.
fn play(saga: &Definition, calls_out: &str, copies: u8, crashes: u8) -> BTreeMap<&'static str, u32> {
    let (mut open, mut known, mut ends) = (vec![World::new(saga, calls_out, copies, crashes)], HashSet::new(), BTreeMap::new());
    while let Some(world) = open.pop() {
        if !known.insert(world.identity()) {
            continue;
        }
        if world.in_flight.is_empty() && world.running.is_empty() {
            world.check_end();
            *ends.entry(world.instance.state.as_str()).or_default() += 1;
        }
        open.extend(world.next());
    }
    ends
}

#[test]
fn two_participants_in_every_order() {
    let ends = play(&samples::place_order(), "", 2, 0);
    assert!(ends["COMPLETED"] > 0 && ends["ABORTED"] > 0, "{ends:?}");
}

#[test]
fn a_participant_that_calls_out_is_undone_before_during_and_after() {
    let ends = play(&samples::place_order(), "Pay", 1, 2);
    assert!(ends["COMPLETED"] > 0 && ends["ABORTED"] > 0, "{ends:?}");
}

#[test]
fn three_participants_in_every_order() {
    let ends = play(&samples::three(), "", 1, 0);
    assert!(ends["COMPLETED"] > 0 && ends["ABORTED"] > 0, "{ends:?}");
}

#[test]
fn three_participants_of_which_one_calls_out() {
    let ends = play(&samples::three(), "Pay", 1, 1);
    assert!(ends["COMPLETED"] > 0 && ends["ABORTED"] > 0, "{ends:?}");
}
