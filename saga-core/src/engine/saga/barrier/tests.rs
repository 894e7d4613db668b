use super::*;
use crate::{engine::saga::samples, id::MessageId, saga::InstanceKey};

const NOW: Timestamp = Timestamp::from_millis(10);

fn left_behind() -> crate::saga::LeftBehind {
    crate::saga::LeftBehind { value: "{}".to_owned(), version: 1 }
}

fn record(step: &str, state: StepState, until: Option<i64>) -> StepRecord {
    StepRecord {
        instance: InstanceKey { saga: "PlaceOrder".to_owned(), id: "7".to_owned() },
        step: step.to_owned(),
        state,
        record: (state == StepState::Done).then(left_behind),
        message_id: MessageId::new("m"),
        until: until.map(Timestamp::from_millis),
        at: Timestamp::from_millis(0),
    }
}

#[test]
fn every_state_of_a_step_has_an_answer_for_its_action_and_its_compensation() {
    let saga = samples::place_order();
    let done = || BarrierDecision::Undo(Some(left_behind()));
    let nothing = BarrierDecision::Nothing;
    let wait = || BarrierDecision::Wait(Timestamp::from_millis(11));
    // state of the step -> decision for the step, decision for its compensation
    let table = [
        (None, BarrierDecision::Call, nothing(NoEffect::Empty)),
        (Some((StepState::Begun, Some(11))), wait(), wait()),
        (Some((StepState::Begun, Some(10))), BarrierDecision::Call, BarrierDecision::Undo(None)),
        (Some((StepState::Begun, None)), BarrierDecision::Call, BarrierDecision::Undo(None)),
        (Some((StepState::Done, None)), nothing(NoEffect::Again), done()),
        (Some((StepState::Done, Some(11))), wait(), wait()),
        (Some((StepState::Rejected, None)), nothing(NoEffect::Again), nothing(NoEffect::Empty)),
        (Some((StepState::Undone, None)), nothing(NoEffect::Again), nothing(NoEffect::Again)),
        (Some((StepState::Barred, None)), nothing(NoEffect::Late), nothing(NoEffect::Again)),
    ];
    for (state, action, undo) in table {
        let records: Vec<_> = state.map(|(state, until)| record("Reserve", state, until)).into_iter().collect();
        let known = StepRecords { saga: &saga, records: &records };
        assert_eq!(known.decide(RoleKind::Step, "Reserve", Some("Created"), NOW).0, action, "the action, {state:?}");
        let (answer, marks) = known.decide(RoleKind::Undo, "Reserve", Some("Declined"), NOW);
        assert_eq!(answer, undo, "the compensation, {state:?}");
        let barred = state.is_none().then(|| Mark::new("Reserve", StepState::Barred));
        assert_eq!(marks, Vec::from_iter(barred), "the marks, {state:?}");
    }
}

#[test]
fn a_saga_that_is_known_here_to_be_given_up_bars_every_later_step() {
    let saga = samples::place_order();
    let unrecorded = StepRecords { saga: &saga, records: &[] };
    let (_, marks) = unrecorded.decide(RoleKind::Undo, "Pay", Some("Cancelled"), NOW);
    assert_eq!(marks, [Mark::new("Cancel", StepState::Done), Mark::new("Pay", StepState::Barred)]);

    let records = [record("Cancel", StepState::Done, None)];
    let known = StepRecords { saga: &saga, records: &records };
    let (answer, marks) = known.decide(RoleKind::Step, "Reserve", Some("Created"), NOW);
    assert_eq!((answer, marks), (BarrierDecision::Nothing(NoEffect::Late), vec![Mark::new("Reserve", StepState::Barred)]));
    assert_eq!(known.decide(RoleKind::Pivot, "Confirm", Some("Paid"), NOW).0, BarrierDecision::Nothing(NoEffect::Late));
    assert_eq!(known.decide(RoleKind::Abort, "Cancel", Some("Released"), NOW).0, BarrierDecision::Nothing(NoEffect::Again));
}

#[test]
fn the_pivot_bars_the_abort() {
    let saga = samples::place_order();
    let records = [record("Confirm", StepState::Done, None)];
    let known = StepRecords { saga: &saga, records: &records };
    for event in [None, Some("Released")] {
        assert_eq!(known.decide(RoleKind::Abort, "Cancel", event, NOW).0, BarrierDecision::Nothing(NoEffect::Decided));
    }
}

#[test]
fn a_lease_of_a_clock_that_was_ahead_is_as_long_as_it_was_meant_to_be() {
    let at = Timestamp::from_millis;
    let record = |written, until: Option<i64>| StepRecord {
        instance: crate::saga::InstanceKey { saga: "s".into(), id: "7".into() },
        step: "pay".into(),
        state: StepState::Begun,
        record: None,
        message_id: crate::id::MessageId::new("m"),
        until: until.map(at),
        at: at(written),
    };
    for (written, until, expected) in [
        (100, Some(115), Some(115)),
        (90, Some(105), Some(105)),
        (3_600_100, Some(3_600_115), Some(115)),
        (3_600_100, None, None),
    ] {
        let mut known = record(written, until);
        let moved = bring_back(&mut known, at(100));
        assert_eq!((known.until, moved), (expected.map(at), expected != until), "written at {written}, until {until:?}");
        assert!(!bring_back(&mut known, at(100)), "once is enough");
    }
}
