use super::*;
use crate::{
    engine::saga::samples,
    saga::{Cause, EventRef},
};

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn begun(saga: &Definition) -> Instance {
    Instance::begin(saga, "7", EventSeen { event: "Created", id: "Created", at: at(0) }, "c", at(0), saga.deadline)
}

fn take(instance: &mut Instance, saga: &Definition, event: &str, now: i64) -> Observation {
    instance.observe(saga, EventSeen { event, id: event, at: at(now) }, at(now), saga.deadline)
}

/// Returns all permutations of `events`.
fn orders(events: &[&'static str]) -> Vec<Vec<&'static str>> {
    if events.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let rest: Vec<_> = events.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, event)| *event).collect();
        all.extend(orders(&rest).into_iter().map(|mut order| {
            order.insert(0, *event);
            order
        }));
    }
    all
}

#[test]
fn every_order_of_the_events_of_a_saga_comes_to_the_same_and_none_goes_back() {
    let saga = samples::place_order();
    let sagas: [(&[&str], InstanceState); 6] = [
        (&["Reserved", "Paid", "Confirmed"], InstanceState::Completed),
        (&["Insufficient", "Cancelled"], InstanceState::Aborted),
        (&["Reserved", "Declined", "Released", "Cancelled"], InstanceState::Aborted),
        (&["Reserved", "Paid", "Cancelled", "Released", "Refunded"], InstanceState::Aborted),
        (&["Reserved", "Cancelled", "Released"], InstanceState::Aborted),
        (&["Reserved", "Paid", "Cancelled", "Released"], InstanceState::Compensating),
    ];
    for (events, end) in sagas {
        for order in orders(events) {
            let (mut instance, mut state) = (begun(&saga), InstanceState::Running);
            for (now, event) in order.iter().enumerate() {
                assert_eq!(take(&mut instance, &saga, event, now as i64 + 1), Observation::Moved, "{event} of {order:?}");
                assert_eq!(take(&mut instance, &saga, event, now as i64 + 1), Observation::Known, "{event} of {order:?}");
                assert!(instance.state >= state, "{order:?}: back from {state:?} to {:?}", instance.state);
                state = instance.state;
            }
            let open = end == InstanceState::Compensating;
            // An event that comes after the end is outstanding, but the visible state does not go back.
            let ended = if open { [InstanceState::Compensating, InstanceState::Aborted].contains(&state) } else { state == end };
            assert!(ended, "{order:?} ended as {state:?}");
            assert_eq!(instance.ended_at.is_none(), open, "{order:?}");
            assert_eq!(instance.due().is_some(), open, "{order:?}");
            assert_eq!(instance.body.not_allowed, 0, "{order:?}");
        }
    }
}

#[test]
fn what_comes_next_is_told_with_who_calls_for_it() {
    let saga = samples::place_order();
    type Next<'t> = (&'t str, bool, &'t [&'t str]);
    let table: [(&[&str], &[Next<'_>]); 8] = [
        (&[], &[("Reserve", false, &["Reserved", "Insufficient"])]),
        (&["Reserved"], &[("Pay", false, &["Paid", "Declined"])]),
        (&["Reserved", "Paid"], &[("Confirm", false, &["Confirmed"])]),
        (&["Reserved", "Paid", "Confirmed"], &[]),
        (&["Insufficient"], &[("Cancel", false, &["Cancelled"])]),
        (&["Reserved", "Declined"], &[("Reserve", true, &["Released"])]),
        (&["Reserved", "Declined", "Released"], &[("Cancel", false, &["Cancelled"])]),
        (&["Reserved", "Paid", "Cancelled"], &[("Reserve", true, &["Released"]), ("Pay", true, &["Refunded"])]),
    ];
    for (events, expected) in table {
        let mut instance = begun(&saga);
        for event in events {
            take(&mut instance, &saga, event, 1);
        }
        let next = instance.expected(&saga);
        let next: Vec<_> = next.iter().map(|next| (next.step, next.undo, next.events.as_slice())).collect();
        assert_eq!(next, expected, "after {events:?}");
    }
}

#[test]
fn events_that_the_saga_does_not_allow_are_noted_and_counted() {
    let saga = samples::place_order();
    let cases: [(&[&str], &str, &str); 6] = [
        (&["Reserved"], "Insufficient", "Insufficient contradicts Reserved, which was published before"),
        (&["Reserved", "Paid", "Confirmed"], "Cancelled", "Cancelled contradicts Confirmed, which was published before"),
        (&["Cancelled"], "Confirmed", "Confirmed contradicts Cancelled, which was published before"),
        (&["Insufficient"], "Paid", "Reserve was refused by Insufficient, so that nothing can lead to Pay"),
        (&["Declined"], "Refunded", "Refunded contradicts Declined, which was published before"),
        (&[], "Shipped", "Shipped is no event of PlaceOrder"),
    ];
    for (events, event, reason) in cases {
        let mut instance = begun(&saga);
        for event in events {
            take(&mut instance, &saga, event, 1);
        }
        let before = (instance.state, instance.body.seen.clone());
        assert_eq!(take(&mut instance, &saga, event, 2), Observation::NotAllowed(reason.to_owned()));
        assert_eq!(((instance.state, instance.body.seen.clone()), instance.body.not_allowed), (before, 1));
    }
    let mut instance = begun(&saga);
    let again = instance.observe(&saga, EventSeen { event: "Created", id: "another", at: at(1) }, at(1), saga.deadline);
    assert_eq!(again, Observation::NotAllowed("Created was published before, as Created".to_owned()));
}

#[test]
fn timers_end_once_and_lead_to_the_abort_or_to_somebody_who_looks() {
    let mut saga = samples::place_order();
    let mut instance = begun(&saga);
    let due = at(900_000);
    assert_eq!((instance.due(), instance.firing(&saga, at(899_999))), (Some(due), Firing::Nothing));
    assert_eq!(instance.firing(&saga, due), Firing::Abort(Cause::Saga));
    instance.fire_again(due, std::time::Duration::from_secs(1));
    assert_eq!((instance.firing(&saga, due), instance.due()), (Firing::Nothing, Some(at(901_000))));
    instance.fired(at(901_000));
    assert_eq!((instance.firing(&saga, at(9_000_000)), instance.due()), (Firing::Nothing, None));

    take(&mut instance, &saga, "Reserved", 902_000);
    take(&mut instance, &saga, "Cancelled", 903_000);
    assert_eq!(instance.due(), Some(at(1_803_000)), "what is left may take as long again");
    let Firing::Attention(reason) = instance.firing(&saga, at(1_803_000)) else { panic!("nobody is told") };
    assert_eq!(reason, "it was decided, and these events did not come in time: Released");

    saga.abort.deadline = false;
    let undecided = begun(&saga);
    assert!(matches!(undecided.firing(&saga, due), Firing::Attention(_)), "a deadline that nothing acts on is told");
}

#[test]
fn a_step_has_a_deadline_of_its_own_while_it_is_expected() {
    let mut saga = samples::place_order();
    saga.steps[1].deadline = Some(std::time::Duration::from_secs(30));
    let mut instance = begun(&saga);
    assert_eq!(instance.due(), Some(at(900_000)));
    take(&mut instance, &saga, "Reserved", 1_000);
    assert_eq!(instance.due(), Some(at(31_000)));
    assert_eq!(instance.firing(&saga, at(31_000)), Firing::Abort(Cause::Step("Pay".to_owned())));
    take(&mut instance, &saga, "Paid", 2_000);
    assert_eq!(instance.due(), Some(at(900_000)));
}

#[test]
fn an_operator_can_settle_a_step_give_up_and_end() {
    let saga = samples::place_order();
    let mut skipped = begun(&saga);
    for event in ["Reserved", "Paid", "Cancelled", "Released"] {
        take(&mut skipped, &saga, event, 1);
    }
    skipped.skip(&saga, "Pay", at(2), DAY);
    assert_eq!((skipped.state, skipped.ended_at), (InstanceState::Aborted, Some(at(2))));

    let mut given_up = begun(&saga);
    given_up.give_up("the customer has died", at(5));
    assert_eq!(given_up.due(), Some(at(5)));
    assert_eq!(given_up.firing(&saga, at(5)), Firing::Abort(Cause::Operator("the customer has died".to_owned())));

    let mut stuck = begun(&saga);
    stuck.set_attention("lost", at(3));
    stuck.end(&saga, at(4));
    assert_eq!((stuck.state, stuck.attention.clone(), stuck.due()), (InstanceState::Aborted, None, None));
    assert_eq!(Instance::read(stuck.record()).expect("read"), stuck);
}

#[test]
fn what_an_operator_has_ended_stays_ended() {
    let saga = samples::place_order();
    let mut stuck = begun(&saga);
    take(&mut stuck, &saga, "Reserved", 1);
    stuck.end(&saga, at(2));
    assert_eq!(take(&mut stuck, &saga, "Paid", 3), Observation::Moved);
    assert_eq!((stuck.state, stuck.ended_at, stuck.due()), (InstanceState::Aborted, Some(at(2)), None));
    assert!(stuck.expected(&saga).is_empty());
}

#[test]
fn progress_takes_the_call_for_attention_away() {
    let saga = samples::place_order();
    let mut instance = begun(&saga);
    instance.set_attention("payment gave Pay up", at(1));
    assert_eq!(instance.attention.as_deref(), Some("payment gave Pay up"));
    take(&mut instance, &saga, "Reserved", 2);
    assert_eq!(instance.attention, None);
}

fn given_up(step: &str, undo: bool) -> GivenUp {
    let (what, service) = (if undo { " back" } else { "" }, step.to_lowercase());
    GivenUp { step: step.to_owned(), undo, service, dead_letter: "d".to_owned(), reason: format!("{step}{what}"), event: None }
}

#[test]
fn what_was_given_up_calls_for_attention_as_long_as_the_saga_needs_it() {
    let saga = samples::place_order();
    type Case<'t> = (&'t [&'t str], &'t [(&'t str, bool)], &'t [&'t str], Option<&'t str>);
    let table: [Case<'_>; 7] = [
        (&["Reserved"], &[("Pay", false)], &[], Some("Pay")),
        (&["Reserved"], &[("Pay", false)], &["Paid"], None),
        (&["Reserved"], &[("Pay", false)], &["Cancelled"], None),
        (&["Reserved", "Cancelled"], &[("Pay", false)], &[], None),
        (&["Reserved", "Paid", "Cancelled"], &[("Reserve", true), ("Pay", true)], &[], Some("Pay back")),
        (&["Reserved", "Paid", "Cancelled"], &[("Reserve", true), ("Pay", true)], &["Refunded"], Some("Reserve back")),
        (&["Insufficient"], &[("Cancel", false)], &["Cancelled"], None),
    ];
    for (before, stopped, after, attention) in table {
        let mut instance = begun(&saga);
        for event in before {
            take(&mut instance, &saga, event, 1);
        }
        for (step, undo) in stopped {
            instance.record_given_up(&saga, given_up(step, *undo), at(2));
        }
        for event in after {
            take(&mut instance, &saga, event, 3);
        }
        assert_eq!(instance.attention.as_deref(), attention, "{before:?}, {stopped:?}, {after:?}");
    }
}

/// Events of the saga, and what was given up (a compensation has the prefix `-`), in every order: the instance needs attention until the
/// outcome of what was given up has come, whatever else comes meanwhile.
#[test]
fn what_was_given_up_calls_for_attention_whatever_comes_before_it_is_settled() {
    let saga = samples::place_order();
    let cases: [(&[&str], &str, Option<&str>); 4] = [
        (&["Reserved", "Cancelled", "Paid", "-Pay", "Released"], "Refunded", Some("Pay back")),
        (&["Reserved", "Cancelled", "-Reserve"], "Released", Some("Reserve back")),
        (&["Reserved", "Pay"], "Paid", Some("Pay")),
        (&["Reserved", "Pay"], "Cancelled", Some("Pay")),
    ];
    for (happened, settles, attention) in cases {
        for order in orders(happened) {
            let mut instance = begun(&saga);
            for event in &order {
                match event.strip_prefix('-').or((*event == "Pay").then_some(event)) {
                    Some(step) => instance.record_given_up(&saga, given_up(step, event.starts_with('-')), at(1)),
                    None => assert_eq!(take(&mut instance, &saga, event, 1), Observation::Moved, "{order:?}"),
                }
            }
            assert_eq!(instance.attention.as_deref(), attention, "{order:?}");
            assert_eq!(Instance::read(instance.record()).expect("read"), instance);
            take(&mut instance, &saga, settles, 2);
            assert_eq!((instance.attention.as_deref(), instance.body.stopped.len()), (None, 0), "{order:?}, {settles}");
        }
    }
}

#[test]
fn all_that_was_given_up_is_tried_again() {
    let saga = samples::place_order();
    let mut instance = begun(&saga);
    for event in ["Reserved", "Paid", "Cancelled"] {
        take(&mut instance, &saga, event, 1);
    }
    let stopped = [given_up("Reserve", true), given_up("Pay", true)];
    for given_up in stopped.iter().chain(&stopped[..1]) {
        instance.record_given_up(&saga, given_up.clone(), at(2));
    }
    let mut again = instance.rearm(&saga, at(3), DAY);
    again.reverse();
    assert_eq!((again, instance.attention.as_deref()), (stopped.to_vec(), None));
    assert_eq!(instance.rearm(&saga, at(4), DAY), []);
}

#[test]
fn a_saga_has_each_of_its_events_once() {
    let names: Vec<_> = samples::place_order().events().into_iter().map(EventRef::to_string).collect();
    assert_eq!(
        names,
        ["Created", "Reserved", "Insufficient", "Released", "Paid", "Declined", "Refunded", "Confirmed", "Cancelled"]
    );
}

#[test]
fn a_history_keeps_so_many_remarks_and_counts_the_rest() {
    let mut instance = begun(&samples::place_order());
    let remarks: Vec<_> = (0..REMARKS + 5).map(|_| instance.remark()).collect();
    let (kept, rest) = remarks.split_at(REMARKS as usize - 1);
    assert!(kept.iter().all(|remark| *remark == Remark::Kept));
    assert_eq!(rest, [Remark::Last, Remark::Dropped, Remark::Dropped, Remark::Dropped, Remark::Dropped, Remark::Dropped]);
    instance.body.remarks = u32::MAX;
    assert_eq!(instance.remark(), Remark::Dropped);
}

#[test]
fn the_timers_of_a_clock_that_was_ahead_end_when_they_should() {
    let saga = samples::place_order();
    let ahead = 3_600_000;
    let start = EventSeen { event: "Created", id: "Created", at: at(0) };
    let mut instance = Instance::begin(&saga, "7", start, "c", at(ahead), saga.deadline);
    let due = instance.due().expect("a deadline");
    assert!(instance.bring_back(at(5)));
    assert_eq!(instance.due(), Some(at(due.as_millis() - ahead + 5)), "a deadline from now on, whatever the clock was");
    assert!(!instance.bring_back(at(5)) && !instance.bring_back(at(9)));
}

#[test]
fn the_clock_of_a_sender_moves_no_deadline() {
    let saga = samples::place_order();
    for stated in [Timestamp::MIN, at(0), Timestamp::MAX] {
        let start = EventSeen { event: "Created", id: "Created", at: stated };
        let mut instance = Instance::begin(&saga, "7", start, "c", at(1_000), saga.deadline);
        assert_eq!((instance.started_at, instance.updated_at), (at(1_000), at(1_000)));
        assert_eq!(instance.deadline(), Some(at(1_000).after(saga.deadline)), "{stated}");
        let event = saga.steps[0].emits.name.clone();
        let _ = instance.observe(&saga, EventSeen { event: &event, id: "x", at: stated }, at(2_000), saga.deadline);
        let again = Instance::read(instance.record()).expect("what was written is read");
        assert_eq!(again, instance, "{stated}");
        assert!(again.body.timers.values().all(|timer| *timer < at(2_000).after(saga.deadline).after(saga.deadline)));
    }
}

#[test]
fn a_trace_that_cannot_be_read_is_none_and_the_instance_is_as_it_was() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut whole = begun(&samples::place_order());
    whole.body.trace = TraceContext::parse(parent, "a=1");
    let record = whole.record();
    assert_eq!(Instance::read(record.clone()).expect("an instance"), whole);
    let kept: serde_json::Value = serde_json::from_str(&record.body).expect("JSON");
    assert_eq!(kept["trace"], format!("{parent} a=1"));
    let mut bare = whole.clone();
    bare.body.trace = None;
    for broken in [
        serde_json::json!(""),
        serde_json::json!("nonsense"),
        serde_json::json!(parent.to_uppercase()),
        serde_json::json!(format!("{parent}-more")),
        serde_json::json!(parent.replace('4', "0").replace(|c: char| c.is_ascii_hexdigit(), "0")),
        serde_json::json!(null),
        serde_json::json!(7),
        serde_json::json!(1e300),
        serde_json::json!(true),
        serde_json::json!([parent]),
        serde_json::json!({"traceparent": parent}),
    ] {
        let mut body = kept.clone();
        body["trace"] = broken.clone();
        let read = Instance::read(InstanceRecord { body: body.to_string(), ..record.clone() });
        assert_eq!(read.expect("an instance"), bare, "{broken}");
    }
    // An invalid `tracestate` with a valid `traceparent` is ignored.
    let mut body = kept;
    body["trace"] = format!("{parent} A=\u{7}").into();
    let read = Instance::read(InstanceRecord { body: body.to_string(), ..record }).expect("an instance");
    assert_eq!(read.body.trace, TraceContext::parse(parent, ""));
}
