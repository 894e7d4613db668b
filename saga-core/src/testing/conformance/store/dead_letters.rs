//! Dead letters.

use std::{collections::HashSet, sync::Arc};

use super::{
    Subject,
    samples::{at, letter, odd_record, parked, received},
    write,
};
use crate::{
    id::MessageId,
    message::{Envelope, Header, Received, headers},
    store::{DeadLetter, DeadLetterFilter, DeadLetterState, HELD, InboxKey, LetterHead, LetterSummary, parking_key},
};

fn ids(letters: &[DeadLetter]) -> Vec<&str> {
    letters.iter().map(|letter| letter.id.as_str()).collect()
}

/// Checks that open dead letters are listed newest first, in pages, with their total number.
///
/// # Panics
/// Panics if the check fails.
pub async fn dead_letters_are_listed_newest_first(subject: Subject) {
    let store = subject.migrated().await;
    let letters: Vec<DeadLetter> = ["a", "b", "c", "d"].into_iter().zip(1..).map(|(id, at)| letter(id, at)).collect();
    write(store, async |tx| tx.insert_dead_letters("orders", &letters[..2]).await.expect("bury")).await;
    write(store, async |tx| tx.insert_dead_letters("orders", &letters[2..]).await.expect("bury")).await;
    for (offset, limit, expected) in [(0, 10, vec!["d", "c", "b", "a"]), (1, 2, vec!["c", "b"]), (4, 2, vec![]), (0, 0, vec![])] {
        let (page, total) = store.dead_letters("orders", offset, limit).await.expect("list");
        assert_eq!((ids(&page), total), (expected, 4), "from {offset}, at most {limit}");
    }
    let (page, total) = store.dead_letters("orders", u64::MAX, u32::MAX).await.expect("list");
    assert_eq!((ids(&page), total), (vec![], 4));
}

/// Checks that a dead letter is kept unchanged, with any bytes as its value, key and headers.
///
/// # Panics
/// Panics if the check fails.
pub async fn dead_letters_are_kept_untouched(subject: Subject) {
    let store = subject.migrated().await;
    let received = Received { record: odd_record().into(), partition: 0, offset: 0 };
    let odd = DeadLetter { received, event_type: None, attempts: 0, error: "no JSON: \0".into(), ..letter("odd\0", -1) };
    write(store, async |tx| tx.insert_dead_letters("orders", std::slice::from_ref(&odd)).await.expect("bury")).await;
    assert_eq!(store.dead_letter("orders", &odd.id).await.expect("read"), Some(odd.clone()));
    assert_eq!(store.dead_letters("orders", 0, 10).await.expect("list").0, std::slice::from_ref(&odd));
    let (listed, _) = store.find_dead_letters("orders", &DeadLetterFilter::open(), 0, 10).await.expect("find");
    assert_eq!(listed, [LetterSummary::of(&odd)]);
    assert_eq!(listed[0].head.handler, None);
    let mut of_one = DeadLetter { id: MessageId::new("of one"), at: at(2), ..odd.clone() };
    Arc::make_mut(&mut of_one.received.record).headers.push(Header::text(headers::HANDLER, "nul\0inside"));
    write(store, async |tx| tx.insert_dead_letters("orders", std::slice::from_ref(&of_one)).await.expect("bury")).await;
    let (listed, _) = store.find_dead_letters("orders", &DeadLetterFilter::open(), 0, 1).await.expect("find");
    assert_eq!(listed, [LetterSummary::of(&of_one)]);
    assert_eq!(listed[0].head.handler.as_deref(), Some("nul\0inside"));
    assert_eq!(store.dead_letter("orders", &MessageId::new("odd")).await.expect("read"), None);
}

/// Checks that a dead letter can be settled once. After that it is not listed and can still be read.
///
/// # Panics
/// Panics if the check fails.
pub async fn dead_letters_are_settled_once(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.insert_dead_letters("orders", &[letter("a", 1), letter("b", 2)]).await.expect("bury")).await;
    let a = MessageId::new("a");
    write(store, async |tx| {
        assert!(tx.settle_dead_letter("orders", &a, DeadLetterState::Retried, at(9)).await.expect("settle"));
        assert!(!tx.settle_dead_letter("orders", &a, DeadLetterState::Discarded, at(9)).await.expect("settle"));
    })
    .await;
    write(store, async |tx| {
        assert!(!tx.settle_dead_letter("orders", &a, DeadLetterState::Discarded, at(9)).await.expect("settle"));
        let unknown = MessageId::new("unknown");
        assert!(!tx.settle_dead_letter("orders", &unknown, DeadLetterState::Retried, at(9)).await.expect("settle"));
        let b = MessageId::new("b");
        assert!(!tx.settle_dead_letter("payments", &b, DeadLetterState::Retried, at(9)).await.expect("settle"));
        assert!(tx.settle_dead_letter("orders", &b, DeadLetterState::Discarded, at(9)).await.expect("settle"));
    })
    .await;
    let state = store.dead_letter("orders", &a).await.expect("read").map(|letter| letter.state);
    assert_eq!(state, Some(DeadLetterState::Retried));
    assert_eq!(store.dead_letters("orders", 0, 10).await.expect("list"), (vec![], 0));
}

/// Checks that a dead letter replaces an existing one with the same id.
///
/// # Panics
/// Panics if the check fails.
pub async fn dead_letters_buried_again_are_replaced(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.insert_dead_letters("orders", &[letter("a", 1), letter("b", 2)]).await.expect("bury")).await;
    write(store, async |tx| {
        tx.settle_dead_letter("orders", &MessageId::new("a"), DeadLetterState::Retried, at(9)).await.expect("settle");
        let again = DeadLetter { error: "again".into(), ..letter("a", 3) };
        tx.insert_dead_letters("orders", &[again]).await.expect("bury");
    })
    .await;
    let (page, total) = store.dead_letters("orders", 0, 10).await.expect("list");
    assert_eq!((ids(&page), total), (vec!["a", "b"], 2));
    assert_eq!(page[0].error, "again");
}

/// Checks that the reason why the log did not accept a dead letter is kept with it in every state, and is removed when another replaces it.
///
/// # Panics
/// Panics if the check fails.
pub async fn dead_letters_say_what_the_log_did_not_take(subject: Subject) {
    let store = subject.migrated().await;
    let why = "the topic does not have it: \0";
    let marked = DeadLetter { unpublished: Some(why.to_owned()), ..letter("marked", 2) };
    write(store, async |tx| tx.insert_dead_letters("orders", &[letter("a", 1), marked.clone()]).await.expect("bury")).await;
    let a = MessageId::new("a");
    write(store, async |tx| {
        assert!(tx.mark_unpublished("orders", &a, why).await.expect("mark"));
        assert!(!tx.mark_unpublished("payments", &a, why).await.expect("mark"));
        assert!(!tx.mark_unpublished("orders", &MessageId::new("unknown"), why).await.expect("mark"));
        tx.insert_dead_letters("orders", &[letter("b", 3)]).await.expect("bury");
        assert!(tx.mark_unpublished("orders", &MessageId::new("b"), "x").await.expect("mark"), "one of this transaction");
    })
    .await;
    let unpublished =
        async |id: &MessageId| store.dead_letter("orders", id).await.expect("read").and_then(|letter| letter.unpublished);
    assert_eq!(unpublished(&a).await.as_deref(), Some(why));
    assert_eq!(store.dead_letter("orders", &marked.id).await.expect("read"), Some(marked));
    write(store, async |tx| {
        assert!(tx.settle_dead_letter("orders", &a, DeadLetterState::Retried, at(3)).await.expect("settle"));
        assert!(tx.mark_unpublished("orders", &a, "later").await.expect("mark"));
    })
    .await;
    assert_eq!(unpublished(&a).await.as_deref(), Some("later"));
    write(store, async |tx| tx.insert_dead_letters("orders", &[letter("a", 4)]).await.expect("bury")).await;
    assert_eq!(unpublished(&a).await, None);
}

/// Checks that a service sees only its own dead letters.
///
/// # Panics
/// Panics if the check fails.
pub async fn dead_letters_of_services_are_apart(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| {
        tx.insert_dead_letters("orders", &[letter("a", 1)]).await.expect("bury");
        tx.insert_dead_letters("payments", &[DeadLetter { error: "theirs".into(), ..letter("a", 1) }]).await.expect("bury");
    })
    .await;
    let (page, total) = store.dead_letters("payments", 0, 10).await.expect("list");
    assert_eq!((page[0].error.as_str(), total), ("theirs", 1));
    assert_eq!(store.dead_letters("shipping", 0, 10).await.expect("list"), (vec![], 0));
    assert_eq!(store.dead_letter("shipping", &MessageId::new("a")).await.expect("read"), None);
}

/// A dead letter of `topic` whose message is at `offset` of partition 3.
fn of(id: &str, topic: &str, key: Option<&'static [u8]>, offset: i64) -> DeadLetter {
    DeadLetter { received: received(topic, key, offset), ..letter(id, offset) }
}

/// Checks that a filter finds the matching dead letters, newest first.
///
/// # Panics
/// Panics if the check fails.
pub async fn dead_letters_are_found_by_a_filter(subject: Subject) {
    let store = subject.migrated().await;
    let letters = [
        of("a", "orders", Some(b"one"), 1),
        DeadLetter { error: "a 100% timeout_of the gateway".into(), ..of("b", "orders", Some(&[0, 255]), 2) },
        DeadLetter { event_type: None, ..of("c", "payments", None, 3) },
        DeadLetter { event_type: Some("Nul\0".into()), error: "Nul\0 in it".into(), ..of("d", "payments", Some(b"one"), 4) },
    ];
    write(store, async |tx| {
        tx.insert_dead_letters("orders", &letters).await.expect("bury");
        assert!(tx.settle_dead_letter("orders", &MessageId::new("a"), DeadLetterState::Discarded, at(9)).await.expect("settle"));
    })
    .await;
    let any = DeadLetterFilter::default;
    for (filter, expected) in [
        (any(), vec!["d", "c", "b", "a"]),
        (DeadLetterFilter::open(), vec!["d", "c", "b"]),
        (DeadLetterFilter { state: Some(DeadLetterState::Discarded), ..any() }, vec!["a"]),
        (DeadLetterFilter { topic: Some("orders".into()), ..any() }, vec!["b", "a"]),
        (DeadLetterFilter { key: Some("one".into()), ..any() }, vec!["d", "a"]),
        (DeadLetterFilter { key: Some(vec![0, 255].into()), ..any() }, vec!["b"]),
        (DeadLetterFilter { key: Some("".into()), ..any() }, vec![]),
        (DeadLetterFilter { event_type: Some("OrderCreated".into()), ..any() }, vec!["b", "a"]),
        (DeadLetterFilter { event_type: Some("Nul\0".into()), ..any() }, vec!["d"]),
        (DeadLetterFilter { error: Some("timeout".into()), ..any() }, vec!["b"]),
        (DeadLetterFilter { error: Some("Timeout".into()), ..any() }, vec![]),
        (DeadLetterFilter { error: Some("100% timeout_of".into()), ..any() }, vec!["b"]),
        (DeadLetterFilter { error: Some("100_".into()), ..any() }, vec![]),
        (DeadLetterFilter { error: Some("\0".into()), ..any() }, vec!["d"]),
        (DeadLetterFilter { since: Some(at(2)), until: Some(at(4)), ..any() }, vec!["c", "b"]),
        (DeadLetterFilter { topic: Some("orders".into()), key: Some("one".into()), ..DeadLetterFilter::open() }, vec![]),
    ] {
        let (page, total) = store.find_dead_letters("orders", &filter, 0, 10).await.expect("list");
        let found: Vec<_> = page.iter().map(|letter| letter.head.id.as_str()).collect();
        assert_eq!((found, total), (expected.clone(), expected.len() as u64), "{filter:?}");
        let heads = store.dead_letter_heads("orders", &filter, None, 10).await.expect("heads");
        assert_eq!(heads.len(), expected.len(), "{filter:?}");
    }
}

/// Checks that the heads of dead letters are listed in the order of their messages' positions, and that a list can continue after one of
/// them.
///
/// # Panics
/// Panics if the check fails.
pub async fn heads_of_dead_letters_come_in_the_order_of_positions(subject: Subject) {
    let store = subject.migrated().await;
    let letters =
        [of("z", "orders", None, 5), of("a", "payments", None, 1), of("b", "orders", None, 40), of("c", "orders", None, 5)];
    write(store, async |tx| tx.insert_dead_letters("orders", &letters).await.expect("bury")).await;
    let (mut found, mut after): (Vec<LetterHead>, _) = (Vec::new(), None);
    loop {
        let page = store.dead_letter_heads("orders", &DeadLetterFilter::open(), after.as_ref(), 2).await.expect("heads");
        after = page.last().cloned();
        let last = page.len() < 2;
        found.extend(page);
        if last {
            break;
        }
    }
    assert_eq!(found.iter().map(|head| head.id.as_str()).collect::<Vec<_>>(), ["c", "z", "b", "a"]);
    let whole: Vec<_> = [&letters[3], &letters[0], &letters[2], &letters[1]].map(LetterHead::of).into();
    assert_eq!(found, whole);
    let ids: Vec<_> = ["a", "c", "nobody"].map(MessageId::new).into();
    let mut some = store.dead_letters_by_id("orders", &ids).await.expect("read");
    some.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    assert_eq!(some, [letters[1].clone(), letters[3].clone()]);
}

/// Checks that a thousand dead letters can be settled in one call, and that each is settled by exactly one of several transactions.
///
/// # Panics
/// Panics if the check fails.
pub async fn many_dead_letters_are_settled_once(subject: Subject) {
    let store = subject.migrated().await;
    let letters: Vec<_> = (0..1_000).map(|number| of(&format!("l-{number}"), "orders", None, number)).collect();
    write(store, async |tx| tx.insert_dead_letters("orders", &letters).await.expect("bury")).await;
    let ids: Vec<_> = letters.iter().map(|letter| letter.id.clone()).collect();
    let mut settling = tokio::task::JoinSet::new();
    for way in 0..4_usize {
        let (store, mut ids) = (store.clone(), ids.clone());
        // Each in another order.
        ids.rotate_left(way * 250);
        settling.spawn(async move {
            loop {
                let mut tx = store.begin().await.expect("begin");
                let settled = tx.settle_dead_letters("orders", &ids, DeadLetterState::Retried, at(9)).await;
                match settled {
                    Ok(moved) => {
                        tx.commit().await.expect("commit");
                        return moved.into_iter().filter(|moved| *moved).count();
                    }
                    Err(crate::store::StoreError::Contended(_)) => drop(tx),
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    let moved: Vec<usize> = settling.join_all().await;
    assert_eq!(moved.iter().sum::<usize>(), 1_000, "{moved:?}");
    assert_eq!(store.dead_letters("orders", 0, 0).await.expect("count").1, 0);
}

/// Checks that a discarded dead letter can still become `replayed`, but one that was retried or replayed cannot.
///
/// # Panics
/// Panics if the check fails.
pub async fn dead_letters_are_answered_unless_they_were_given_back(subject: Subject) {
    use DeadLetterState::{Discarded, Open, Replayed, Retried};
    let store = subject.migrated().await;
    for (number, (state, answered)) in
        [(Open, true), (Discarded, true), (Retried, false), (Replayed, false)].into_iter().enumerate()
    {
        let letter = of(&format!("l-{number}"), "orders", None, number as i64);
        write(store, async |tx| {
            tx.insert_dead_letters("orders", std::slice::from_ref(&letter)).await.expect("bury");
            if state != Open {
                assert!(tx.settle_dead_letter("orders", &letter.id, state, at(1)).await.expect("settle"));
            }
            assert_eq!(
                tx.settle_dead_letter("orders", &letter.id, Replayed, at(2)).await.expect("answer"),
                answered,
                "{state:?}"
            );
        })
        .await;
    }
}

/// Checks that the dead letters of messages are found by the ids of these messages, in every state. A record that never reached the log has
/// no message id.
///
/// # Panics
/// Panics if the check fails.
pub async fn dead_letters_are_found_by_their_messages(subject: Subject) {
    let store = subject.migrated().await;
    let named = |id: &str, source: &str, number: i64| {
        let mut letter = of(&format!("letter-{number}"), "orders", None, number);
        let mut record = (*letter.received.record).clone();
        record.headers = vec![Header::text("ce_id", id), Header::text("ce_source", source)];
        letter.received.record = record.into();
        letter
    };
    let long = "x".repeat(1_000);
    let mut unsent = named("m-1", "shop", 9);
    (unsent.received.partition, unsent.received.offset) = (-1, -1);
    let nameless = Received { record: odd_record().into(), partition: 3, offset: 5 };
    let place = Envelope::by_position(&nameless, at(5)).id;
    let mut of_one = named("m-1", "shop", 2);
    Arc::make_mut(&mut of_one.received.record).headers.push(Header::text(headers::HANDLER, "refund"));
    let letters = [
        named("m-1", "shop", 1),
        of_one,
        named("m-1", "elsewhere", 3),
        named(&long, "shop é", 4),
        unsent,
        // Identified by its position.
        DeadLetter { received: nameless, ..letter("letter-5", 5) },
    ];
    write(store, async |tx| {
        tx.insert_dead_letters("orders", &letters).await.expect("bury");
        tx.insert_dead_letters("payments", &[named("m-1", "shop", 7)]).await.expect("bury");
        let first = MessageId::new("letter-1");
        assert!(tx.settle_dead_letter("orders", &first, DeadLetterState::Discarded, at(9)).await.expect("settle"));
    })
    .await;
    let key = |source: &str, id: &str| InboxKey { source: source.into(), id: MessageId::new(id) };
    let asked = [
        key("shop", "m-1"),
        key("shop", "m-2"),
        key("elsewhere", "m-1"),
        key("shop é", &long),
        key("Örders", place.as_str()),
        key("shop", "m-1"),
    ];
    let mut tx = store.begin().await.expect("begin");
    let found = tx.dead_letters_of("orders", &asked).await.expect("found");
    let mut names: Vec<Vec<_>> = found.iter().map(|heads| heads.iter().map(|head| head.id.as_str()).collect()).collect();
    names.iter_mut().for_each(|names| names.sort_unstable());
    let both = vec!["letter-1", "letter-2"];
    assert_eq!(names, [both.clone(), vec![], vec!["letter-3"], vec!["letter-4"], vec!["letter-5"], both]);
    let first = found[0].iter().find(|head| head.offset == 1).expect("it is there");
    assert_eq!((first.state, first.partition.partition), (DeadLetterState::Discarded, 3));
    let mut handlers: Vec<_> = found[0].iter().map(|head| head.handler.as_deref()).collect();
    handlers.sort_unstable();
    assert_eq!(handlers, [None, Some("refund")]);
}

/// Checks that a dead letter finds the parked message that holds its key. That message can be released or replaced, and such a dead letter
/// is not pruned.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_dead_letter_finds_what_holds_its_key(subject: Subject) {
    let store = subject.migrated().await;
    // One with a key, one without a key, and one whose key waits for something else.
    let letters = [of("a", "orders", Some(&[0, 255]), 1), of("b", "orders", None, 2), of("c", "orders", Some(b"free"), 3)];
    // If two handlers gave up the same message, the first one holds its key.
    let of_handler = |id: &str, handler: &str| {
        let mut letter = of(id, "orders", Some(b"two"), 4);
        Arc::make_mut(&mut letter.received.record).headers.push(Header::text(headers::HANDLER, handler));
        letter
    };
    let two = [of_handler("d", "refund"), of_handler("e", "notify")];
    let mut messages: Vec<_> = letters.iter().map(|letter| parked(letter.received.clone(), HELD.as_millis())).collect();
    messages[2].due = at(5);
    messages.push(parked(two[0].received.clone(), HELD.as_millis()));
    let waiting = parked(received("orders", Some(&[0, 255]), 8), 7);
    let ids = write(store, async |tx| {
        tx.insert_dead_letters("orders", &letters).await.expect("bury");
        tx.insert_dead_letters("orders", &two).await.expect("bury");
        let ids = tx.park("orders", &messages).await.expect("park");
        tx.park("orders", &[waiting]).await.expect("park");
        ids
    })
    .await;
    let heads: Vec<_> = letters.iter().map(LetterHead::of).collect();
    let mut tx = store.begin().await.expect("begin");
    let mut held = tx.holding("orders", &heads).await.expect("holding");
    held.sort_by_key(|(_, parked)| *parked);
    assert_eq!(held, [(heads[0].id.clone(), ids[0]), (heads[1].id.clone(), ids[1])]);
    let two: Vec<_> = two.iter().map(LetterHead::of).collect();
    assert_eq!(tx.holding("orders", &two).await.expect("holding"), [(two[0].id.clone(), ids[3])]);
    drop(tx);
    let holding = store.holding_letters("orders", &[&*heads, &*two].concat()).await.expect("holding");
    assert_eq!(holding, HashSet::from([&heads[0], &heads[1], &two[0]].map(|head| head.id.clone())));
    assert_eq!(store.holding_letters("orders", &[]).await.expect("holding"), HashSet::new());
    assert_eq!(store.holding_letters("payments", &heads).await.expect("holding"), HashSet::new(), "they are of another service");
    // Dead letters that hold their keys are not pruned.
    let pruned = store.prune_dead_letters("orders", Some(at(100)), Some(at(100)), 10).await.expect("prune");
    assert_eq!((pruned.open, pruned.settled), (1, 0));

    let mended = received("orders", Some(&[0, 255]), 70);
    write(store, async |tx| {
        tx.replace_parked(ids[0], &mended, at(20)).await.expect("replace");
        tx.release(&ids[1..2], at(30)).await.expect("release");
    })
    .await;
    let of_key = store.parked("orders", "orders", &[0, 255], 10).await.expect("read");
    assert_eq!(of_key.iter().map(|message| message.received.offset).collect::<Vec<_>>(), [70, 8], "in its place");
    assert_eq!((of_key[0].attempts, of_key[0].due, of_key[0].error.as_str(), of_key[0].id), (0, at(20), "", ids[0]));
    assert_eq!(of_key[0].received, mended);
    let alone = store.parked("orders", "orders", &parking_key(&letters[1].received), 10).await.expect("read");
    assert_eq!((alone[0].attempts, alone[0].due, alone[0].error.as_str()), (0, at(30), ""));
}

/// Checks that dead letters are pruned by age: open ones by the time when they were given up, settled ones by the time when they were
/// settled.
///
/// # Panics
/// Panics if the check fails.
pub async fn old_dead_letters_are_pruned(subject: Subject) {
    let store = subject.migrated().await;
    let letters: Vec<_> = (0..6).map(|number| of(&format!("l-{number}"), "orders", None, number)).collect();
    write(store, async |tx| {
        tx.insert_dead_letters("orders", &letters).await.expect("bury");
        tx.insert_dead_letters("payments", &letters).await.expect("bury");
        for (number, when) in [(3, 50), (4, 60), (5, 70)] {
            let id = MessageId::new(format!("l-{number}"));
            assert!(tx.settle_dead_letter("orders", &id, DeadLetterState::Retried, at(when)).await.expect("settle"));
        }
    })
    .await;
    let left = async || {
        let any = DeadLetterFilter::default();
        let (mut letters, _) = store.find_dead_letters("orders", &any, 0, 10).await.expect("list");
        letters.reverse();
        letters.iter().map(|letter| letter.head.id.to_string()).collect::<Vec<_>>()
    };
    let pruned = store.prune_dead_letters("orders", None, None, 10).await.expect("prune");
    assert_eq!((pruned.open, pruned.settled, left().await.len()), (0, 0, 6), "nothing has an age");
    let pruned = store.prune_dead_letters("orders", Some(at(2)), Some(at(61)), 1).await.expect("prune");
    assert_eq!((pruned.open, pruned.settled), (1, 1), "at most so many");
    let pruned = store.prune_dead_letters("orders", Some(at(2)), Some(at(61)), 10).await.expect("prune");
    assert_eq!((pruned.open, pruned.settled), (1, 1));
    assert_eq!(left().await, ["l-2", "l-5"]);
    let any = DeadLetterFilter::default();
    assert_eq!(store.find_dead_letters("payments", &any, 0, 0).await.expect("count").1, 6);
}
