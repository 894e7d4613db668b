//! Replays.

use std::sync::Arc;

use super::{
    Subject,
    samples::{at, key},
    write,
};
use crate::{
    id::MessageId,
    message::TopicPartition,
    store::{Ownership, Replay, ReplayState, ReplayStep, Store},
};

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("orders", number)
}

fn replay(id: &str, number: i32, when: i64) -> Replay {
    Replay {
        id: MessageId::new(id),
        partition: partition(number),
        from: Some(3),
        from_time: None,
        to: None,
        to_time: Some(at(9)),
        limit: 100,
        again: true,
        reason: "the handler was wrong: \0".into(),
        by: "ada".into(),
        at: at(when),
        state: ReplayState::Waiting,
        resume: None,
        ended_at: None,
        detail: None,
        log: Some("log \0 1".into()),
        applied: None,
    }
}

fn step(id: &str, owned: Ownership, state: ReplayState) -> ReplayStep {
    ReplayStep { id: MessageId::new(id), owned, state, from: None, to: None, resume: None, detail: None, at: at(50) }
}

async fn ids(store: &Arc<dyn Store>, open: bool) -> Vec<String> {
    let found = store.replays().list("billing", open, 10).await.expect("list");
    found.into_iter().map(|replay| replay.id.to_string()).collect()
}

/// Checks that a partition has one open replay at a time, and that replays of services are separate.
///
/// # Panics
/// Panics if the check fails.
pub async fn replays_of_a_partition_are_one_at_a_time(subject: Subject) {
    let store = subject.migrated().await;
    let replays = store.replays();
    assert!(replays.ask("billing", &replay("a", 0, 1)).await.expect("ask"));
    assert!(!replays.ask("billing", &replay("b", 0, 2)).await.expect("ask"), "one is open");
    assert!(replays.ask("billing", &replay("c", 1, 3)).await.expect("ask"));
    assert!(replays.ask("shipping", &replay("a", 0, 1)).await.expect("ask"));
    assert_eq!(replays.list("billing", true, 10).await.expect("list"), [replay("c", 1, 3), replay("a", 0, 1)]);
    assert!(replays.stop("billing", &MessageId::new("a"), at(7)).await.expect("stop"));
    assert!(!replays.stop("billing", &MessageId::new("a"), at(8)).await.expect("stop"), "it has ended");
    assert!(!replays.stop("billing", &MessageId::new("unknown"), at(8)).await.expect("stop"));
    assert!(replays.ask("billing", &replay("b", 0, 9)).await.expect("ask"));
    assert_eq!(
        (ids(store, true).await, ids(store, false).await),
        (vec!["b".into(), "c".into()], vec!["b".into(), "c".into(), "a".into()])
    );
    assert_eq!(replays.list("billing", false, 1).await.expect("list").len(), 1);
    assert_eq!(replays.prune("billing", at(7), 10).await.expect("prune"), 0);
    assert_eq!(replays.prune("billing", at(8), 10).await.expect("prune"), 1);
}

/// Checks that a step of a replay and the position of its partition change together, and only under the valid epoch.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_step_of_a_replay_moves_its_partition(subject: Subject) {
    let store = subject.migrated().await;
    let replays = store.replays();
    let owned = store.acquire_partitions("billing", &[partition(0)]).await.expect("own").remove(0);
    store.advance("billing", &[Ownership { applied: Some(8), ..owned.clone() }]).await.expect("advance");
    assert!(replays.ask("billing", &replay("a", 0, 1)).await.expect("ask"));
    let begun = ReplayStep {
        from: Some(3),
        to: Some(6),
        resume: Some(8),
        ..step("a", Ownership { applied: Some(3), log: Some("other".into()), ..owned.clone() }, ReplayState::Running)
    };
    let fenced = ReplayStep { owned: Ownership { epoch: owned.epoch - 1, ..begun.owned.clone() }, ..begun.clone() };
    assert!(!replays.step("billing", &fenced).await.expect("step"));
    let unknown = ReplayStep { id: MessageId::new("unknown"), ..begun.clone() };
    assert!(!replays.step("billing", &unknown).await.expect("step"), "there is none");
    let known = replays.partitions("billing").await.expect("read");
    assert_eq!(known, [Ownership { applied: Some(8), ..owned.clone() }], "nothing of it");

    assert!(replays.step("billing", &begun).await.expect("step"));
    let running = replays.list("billing", true, 10).await.expect("list").remove(0);
    assert_eq!((running.state, running.from, running.to, running.resume), (ReplayState::Running, Some(3), Some(6), Some(8)));
    assert_eq!((running.applied, running.ended_at, running.log.as_deref()), (Some(3), None, Some("log \0 1")));
    assert_eq!(replays.partitions("billing").await.expect("read")[0].log.as_deref(), Some("other"));
    assert!(replays.stop("billing", &running.id, at(40)).await.expect("stop"));
    assert_eq!(replays.list("billing", true, 10).await.expect("list")[0].state, ReplayState::Stopping);

    let end = ReplayStep {
        detail: Some("ended at 5 \0".into()),
        ..step("a", Ownership { applied: Some(8), ..owned.clone() }, ReplayState::Cancelled)
    };
    assert!(replays.step("billing", &end).await.expect("step"));
    assert!(!replays.step("billing", &end).await.expect("step"), "it has ended");
    let ended = replays.list("billing", false, 10).await.expect("list").remove(0);
    assert_eq!((ended.state, ended.ended_at, ended.applied), (ReplayState::Cancelled, Some(at(50)), Some(8)));
    assert_eq!((ended.resume, ended.detail.as_deref()), (Some(8), Some("ended at 5 \0")));
}

/// Checks that only claims older than a time are removed.
///
/// # Panics
/// Panics if the check fails.
pub async fn claims_are_forgotten_by_their_time(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| {
        assert_eq!(tx.claim("billing", &[key(0)], at(1)).await.expect("claim"), [true]);
        assert_eq!(tx.claim("billing", &[key(1)], at(5)).await.expect("claim"), [true]);
        assert_eq!(tx.claim("shipping", &[key(0)], at(1)).await.expect("claim"), [true]);
    })
    .await;
    let both = [key(0), key(1), key(2)];
    let mut tx = store.begin().await.expect("begin");
    tx.forget("billing", &both, at(5)).await.expect("forget");
    assert_eq!(tx.claim("billing", &both, at(6)).await.expect("claim"), [true, false, true]);
    assert_eq!(tx.claim("billing", &both, at(6)).await.expect("claim"), [false; 3]);
    drop(tx);
    assert_eq!(store.seen("billing", &both).await.expect("read"), [true, true, false], "it was rolled back");
    write(store, async |tx| {
        tx.forget("billing", &both, at(5)).await.expect("forget");
        assert_eq!(tx.claim("billing", &both, at(6)).await.expect("claim"), [true, false, true]);
    })
    .await;
    write(store, async |tx| {
        tx.forget("billing", &both, at(5)).await.expect("forget");
        assert_eq!(tx.claim("billing", &both, at(7)).await.expect("claim"), [false; 3], "claimed since");
    })
    .await;
    assert_eq!(store.seen("shipping", &both[..1]).await.expect("read"), [true]);
}
