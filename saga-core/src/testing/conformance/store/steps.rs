//! Step records.

use super::{
    Subject,
    samples::{at, instance, step},
    write,
};
use crate::{
    id::MessageId,
    store::{InstanceKey, StepRecord, StepState},
};

/// Checks that the step records of an instance are kept unchanged, are read by name, and are separate from those of other instances.
///
/// # Panics
/// Panics if the check fails.
pub async fn steps_are_kept_per_instance(subject: Subject) {
    let store = subject.migrated().await;
    let states = [StepState::Begun, StepState::Done, StepState::Rejected, StepState::Undone, StepState::Barred];
    let mut first: Vec<StepRecord> =
        states.into_iter().zip(1..).map(|(state, number)| StepRecord { state, ..step("1", number) }).collect();
    (first[0].until, first[0].record) = (Some(at(900)), None);
    let elsewhere = StepRecord { instance: InstanceKey { saga: "refund".into(), id: "1".into() }, ..step("1", 1) };
    write(store, async |tx| {
        let reversed: Vec<StepRecord> = first.iter().rev().cloned().collect();
        tx.save_steps("orders", &reversed).await.expect("save");
        tx.save_steps("orders", &[step("2", 2), elsewhere.clone()]).await.expect("save");
        tx.save_steps("orders", &[]).await.expect("save nothing");
    })
    .await;
    let sagas = store.sagas();
    assert_eq!(sagas.steps("orders", &instance("1")).await.expect("read"), first);
    assert_eq!(sagas.steps("orders", &instance("2")).await.expect("read"), [step("2", 2)]);
    assert_eq!(sagas.steps("orders", &instance("3")).await.expect("read"), []);

    let mut tx = store.begin().await.expect("begin");
    let wanted = [instance("2"), instance("3"), elsewhere.instance.clone(), instance("2")];
    let mut loaded = tx.load_steps("orders", &wanted).await.expect("load");
    loaded.sort_by(|one, other| one.instance.cmp(&other.instance));
    assert_eq!(loaded, [step("2", 2), elsewhere]);
    assert_eq!(tx.load_steps("orders", &[]).await.expect("load"), []);
}

/// Checks that a step record replaces the existing one, also within one call.
///
/// # Panics
/// Panics if the check fails.
pub async fn steps_are_replaced(subject: Subject) {
    let store = subject.migrated().await;
    let begun = StepRecord { state: StepState::Begun, record: None, until: Some(at(50)), ..step("1", 1) };
    write(store, async |tx| tx.save_steps("orders", &[begun.clone(), step("1", 2)]).await.expect("save")).await;
    let done = StepRecord { message_id: MessageId::new("another"), at: at(90), ..step("1", 1) };
    write(store, async |tx| tx.save_steps("orders", &[begun, done.clone()]).await.expect("save")).await;
    assert_eq!(store.sagas().steps("orders", &instance("1")).await.expect("read"), [done, step("1", 2)]);
}

/// Checks that a transaction reads the step records that it wrote, and after an undo the previous ones.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_transaction_reads_its_own_steps(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.save_steps("orders", &[step("1", 1)]).await.expect("save")).await;
    let mut tx = store.begin().await.expect("begin");
    tx.load_steps("orders", &[instance("1")]).await.expect("load");
    tx.savepoint().await.expect("savepoint");
    let undone = StepRecord { state: StepState::Undone, ..step("1", 1) };
    for _ in 0..2 {
        tx.save_steps("orders", &[undone.clone(), step("1", 2)]).await.expect("save");
        let changed = tx.load_steps("orders", &[instance("1")]).await.expect("load");
        assert_eq!(sorted(changed), [undone.clone(), step("1", 2)]);
        tx.undo().await.expect("undo");
        assert_eq!(tx.load_steps("orders", &[instance("1")]).await.expect("load"), [step("1", 1)]);
    }
}

fn sorted(mut steps: Vec<StepRecord>) -> Vec<StepRecord> {
    steps.sort_by(|one, other| one.step.cmp(&other.step));
    steps
}

/// Checks that a service sees only its own step records.
///
/// # Panics
/// Panics if the check fails.
pub async fn steps_of_services_are_apart(subject: Subject) {
    let store = subject.migrated().await;
    let theirs = StepRecord { state: StepState::Rejected, ..step("1", 1) };
    write(store, async |tx| {
        tx.save_steps("orders", &[step("1", 1)]).await.expect("save");
        tx.save_steps("payments", std::slice::from_ref(&theirs)).await.expect("save");
        assert_eq!(tx.load_steps("payments", &[instance("1")]).await.expect("load"), std::slice::from_ref(&theirs));
        assert_eq!(tx.load_steps("shipping", &[instance("1")]).await.expect("load"), []);
    })
    .await;
    assert_eq!(store.sagas().steps("orders", &instance("1")).await.expect("read"), [step("1", 1)]);
    assert_eq!(store.sagas().steps("payments", &instance("1")).await.expect("read"), [theirs]);
}

/// Checks that ten thousand step records can be saved in one call, and loaded in one.
///
/// # Panics
/// Panics if the check fails.
pub async fn ten_thousand_steps_fit_one_call(subject: Subject) {
    let store = subject.migrated().await;
    let steps: Vec<StepRecord> = (0..10_000).map(|number| step(&number.to_string(), 1)).collect();
    write(store, async |tx| tx.save_steps("orders", &steps).await.expect("save")).await;
    let keys: Vec<InstanceKey> = (0..10_001).map(|number: usize| instance(&number.to_string())).collect();
    let mut loaded = write(store, async |tx| tx.load_steps("orders", &keys).await.expect("load")).await;
    loaded.sort_by_key(|step| step.instance.id.parse::<u32>().expect("a number"));
    assert!(loaded == steps, "{} are there", loaded.len());
}
