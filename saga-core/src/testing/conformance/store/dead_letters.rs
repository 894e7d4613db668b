//! Dead letters.

use super::{
    Subject,
    samples::{letter, odd_record},
    write,
};
use crate::{
    id::MessageId,
    message::Received,
    store::{DeadLetter, DeadLetterState},
};

fn ids(letters: &[DeadLetter]) -> Vec<&str> {
    letters.iter().map(|letter| letter.id.as_str()).collect()
}

/// Open dead letters are listed newest first, a page at a time, with how many there are in all.
///
/// # Panics
/// When that is not so.
pub async fn dead_letters_are_listed_newest_first(subject: Subject) {
    let store = subject.migrated().await;
    let letters: Vec<DeadLetter> = ["a", "b", "c", "d"].into_iter().zip(1..).map(|(id, at)| letter(id, at)).collect();
    write(store, async |tx| tx.bury("orders", &letters[..2]).await.expect("bury")).await;
    write(store, async |tx| tx.bury("orders", &letters[2..]).await.expect("bury")).await;
    for (offset, limit, expected) in [(0, 10, vec!["d", "c", "b", "a"]), (1, 2, vec!["c", "b"]), (4, 2, vec![]), (0, 0, vec![])] {
        let (page, total) = store.dead_letters("orders", offset, limit).await.expect("list");
        assert_eq!((ids(&page), total), (expected, 4), "from {offset}, at most {limit}");
    }
    let (page, total) = store.dead_letters("orders", u64::MAX, u32::MAX).await.expect("list");
    assert_eq!((ids(&page), total), (vec![], 4));
}

/// A dead letter comes back as it was: bytes, key and headers, whatever they are.
///
/// # Panics
/// When it does not.
pub async fn dead_letters_are_kept_untouched(subject: Subject) {
    let store = subject.migrated().await;
    let received = Received { record: odd_record().into(), partition: 0, offset: 0 };
    let odd = DeadLetter { received, event_type: None, attempts: 0, error: "no JSON: \0".into(), ..letter("odd\0", -1) };
    write(store, async |tx| tx.bury("orders", std::slice::from_ref(&odd)).await.expect("bury")).await;
    assert_eq!(store.dead_letter("orders", &odd.id).await.expect("read"), Some(odd.clone()));
    assert_eq!(store.dead_letters("orders", 0, 10).await.expect("list").0, [odd]);
    assert_eq!(store.dead_letter("orders", &MessageId::new("odd")).await.expect("read"), None);
}

/// A dead letter is settled once; then it is listed no more, and can still be read.
///
/// # Panics
/// When that is not so.
pub async fn dead_letters_are_settled_once(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.bury("orders", &[letter("a", 1), letter("b", 2)]).await.expect("bury")).await;
    let a = MessageId::new("a");
    write(store, async |tx| {
        assert!(tx.settle_dead_letter("orders", &a, DeadLetterState::Retried).await.expect("settle"));
        assert!(!tx.settle_dead_letter("orders", &a, DeadLetterState::Discarded).await.expect("settle"));
    })
    .await;
    write(store, async |tx| {
        assert!(!tx.settle_dead_letter("orders", &a, DeadLetterState::Discarded).await.expect("settle"));
        let unknown = MessageId::new("unknown");
        assert!(!tx.settle_dead_letter("orders", &unknown, DeadLetterState::Retried).await.expect("settle"));
        let b = MessageId::new("b");
        assert!(!tx.settle_dead_letter("payments", &b, DeadLetterState::Retried).await.expect("settle"));
        assert!(tx.settle_dead_letter("orders", &b, DeadLetterState::Discarded).await.expect("settle"));
    })
    .await;
    let state = store.dead_letter("orders", &a).await.expect("read").map(|letter| letter.state);
    assert_eq!(state, Some(DeadLetterState::Retried));
    assert_eq!(store.dead_letters("orders", 0, 10).await.expect("list"), (vec![], 0));
}

/// A dead letter buried under an identity that is there takes its place.
///
/// # Panics
/// When it does not.
pub async fn dead_letters_buried_again_are_replaced(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.bury("orders", &[letter("a", 1), letter("b", 2)]).await.expect("bury")).await;
    write(store, async |tx| {
        tx.settle_dead_letter("orders", &MessageId::new("a"), DeadLetterState::Retried).await.expect("settle");
        let again = DeadLetter { error: "again".into(), ..letter("a", 3) };
        tx.bury("orders", &[again]).await.expect("bury");
    })
    .await;
    let (page, total) = store.dead_letters("orders", 0, 10).await.expect("list");
    assert_eq!((ids(&page), total), (vec!["a", "b"], 2));
    assert_eq!(page[0].error, "again");
}

/// What the log did not take of a dead letter is kept with it, whatever became of it, and is gone when another takes its place.
///
/// # Panics
/// When it is not.
pub async fn dead_letters_say_what_the_log_did_not_take(subject: Subject) {
    let store = subject.migrated().await;
    let why = "the topic does not have it: \0";
    let marked = DeadLetter { unpublished: Some(why.to_owned()), ..letter("marked", 2) };
    write(store, async |tx| tx.bury("orders", &[letter("a", 1), marked.clone()]).await.expect("bury")).await;
    let a = MessageId::new("a");
    write(store, async |tx| {
        assert!(tx.mark_unpublished("orders", &a, why).await.expect("mark"));
        assert!(!tx.mark_unpublished("payments", &a, why).await.expect("mark"));
        assert!(!tx.mark_unpublished("orders", &MessageId::new("unknown"), why).await.expect("mark"));
        tx.bury("orders", &[letter("b", 3)]).await.expect("bury");
        assert!(tx.mark_unpublished("orders", &MessageId::new("b"), "x").await.expect("mark"), "one of this transaction");
    })
    .await;
    let unpublished =
        async |id: &MessageId| store.dead_letter("orders", id).await.expect("read").and_then(|letter| letter.unpublished);
    assert_eq!(unpublished(&a).await.as_deref(), Some(why));
    assert_eq!(store.dead_letter("orders", &marked.id).await.expect("read"), Some(marked));
    write(store, async |tx| {
        assert!(tx.settle_dead_letter("orders", &a, DeadLetterState::Retried).await.expect("settle"));
        assert!(tx.mark_unpublished("orders", &a, "later").await.expect("mark"));
    })
    .await;
    assert_eq!(unpublished(&a).await.as_deref(), Some("later"));
    write(store, async |tx| tx.bury("orders", &[letter("a", 4)]).await.expect("bury")).await;
    assert_eq!(unpublished(&a).await, None);
}

/// A service sees its own dead letters only.
///
/// # Panics
/// When it sees others.
pub async fn dead_letters_of_services_are_apart(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| {
        tx.bury("orders", &[letter("a", 1)]).await.expect("bury");
        tx.bury("payments", &[DeadLetter { error: "theirs".into(), ..letter("a", 1) }]).await.expect("bury");
    })
    .await;
    let (page, total) = store.dead_letters("payments", 0, 10).await.expect("list");
    assert_eq!((page[0].error.as_str(), total), ("theirs", 1));
    assert_eq!(store.dead_letters("shipping", 0, 10).await.expect("list"), (vec![], 0));
    assert_eq!(store.dead_letter("shipping", &MessageId::new("a")).await.expect("read"), None);
}
