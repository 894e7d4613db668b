//! The names under which the inbox knows the handlers of an event.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;

use super::Subject;
use crate::store::{Taken, Taker};

/// The number of processes that start at the same time.
const STARTS: usize = 8;

fn taken(event: &str, handlers: &[&str]) -> Taken {
    let handlers = handlers.iter().map(|&handler| handler.to_owned()).collect();
    Taken { topic: "orders".to_owned(), event: event.to_owned(), also: Vec::new(), handlers }
}

/// The name of each handler that takes the event, and the name that the inbox knows it by.
fn known(all: &[Taker], event: &str) -> Vec<(String, String)> {
    let of_event = all.iter().filter(|taker| taker.event == event && taker.takes);
    of_event.map(|taker| (taker.handler.clone(), taker.known_as.clone())).collect()
}

/// Checks that the inbox keeps the name of a handler, whatever happens to other handlers and to its place among them, separately for each
/// service and event.
///
/// # Panics
/// Panics if the check fails.
pub async fn handlers_stay_known_as_they_were(subject: Subject) {
    let store = subject.migrated().await;
    let (handled, odd) = (store.handled(), "nul\0inside");
    type Row<'t> = (&'t [&'t str], &'t [(&'t str, &'t str)], &'t [&'t str]);
    let table: &[Row<'_>] = &[
        (&["b", "a"], &[("a", "a"), ("b", "")], &[]),
        (&["a", odd, "b"], &[("a", "a"), ("b", ""), (odd, odd)], &[]),
        (&["a", odd, "b"], &[("a", "a"), ("b", ""), (odd, odd)], &[]),
        (&[odd, "a"], &[("a", "a"), (odd, odd)], &["b"]),
        (&["a"], &[("a", "a")], &[odd]),
        (&["c"], &[("c", "a")], &[]),
        // The previous version of the program starts once more, and then versions with the new name.
        (&["a"], &[("a", "a")], &[]),
        (&["c", "b"], &[("b", ""), ("c", "a")], &[]),
    ];
    for (handlers, expected, gone) in table {
        let assigned = handled.assign("payments", &[taken(odd, handlers), taken("Placed", &["a"])]).await.expect("assign");
        let expected: Vec<_> = expected.iter().map(|&(handler, known_as)| (handler.to_owned(), known_as.to_owned())).collect();
        assert_eq!(known(&assigned.all, odd), expected, "{handlers:?}");
        assert_eq!(known(&assigned.all, "Placed"), [("a".to_owned(), String::new())]);
        assert_eq!(assigned.gone.iter().map(|taker| taker.handler.as_str()).collect::<Vec<_>>(), *gone, "{handlers:?}");
        let mut tx = store.begin().await.expect("begin");
        assert_eq!(tx.takers("payments").await.expect("read"), assigned.all, "as they are written down");
    }
    let before = store.begin().await.expect("begin").takers("payments").await.expect("read");
    let error = handled.assign("payments", &[taken(odd, &["a", "b", "c"])]).await.expect_err("two names of one");
    assert!(error.to_string().contains("`a` and `c`"), "{error}");
    assert_eq!(store.begin().await.expect("begin").takers("payments").await.expect("read"), before, "nothing is written");
    // Removing the event removes that it was handled, but not the names of its handlers.
    handled.note("payments", &[], &[("orders".to_owned(), odd.to_owned())]).await.expect("forget");
    let assigned = handled.assign("payments", &[taken(odd, &["c", "b"])]).await.expect("assign");
    assert_eq!(known(&assigned.all, odd), [("b".to_owned(), String::new()), ("c".to_owned(), "a".to_owned())]);
    let other = handled.assign("shipping", &[taken(odd, &["a"])]).await.expect("assign");
    assert_eq!(known(&other.all, odd), [("a".to_owned(), String::new())]);
}

/// Checks that processes that start at the same time, with other handlers or another order, all use the assignment of the first.
///
/// # Panics
/// Panics if the check fails.
pub async fn handlers_that_start_at_once_agree(subject: Subject) {
    let store = subject.migrated().await;
    let mut starts = JoinSet::new();
    for start in 0..STARTS {
        let (store, own) = (store.clone(), format!("own-{start}"));
        starts.spawn(async move {
            let handlers = if start % 2 == 0 { ["a", "b", &own] } else { [&own, "b", "a"] };
            store.handled().assign("payments", &[taken("Placed", &handlers)]).await.expect("assign").all
        });
    }
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for taker in starts.join_all().await.concat() {
        seen.entry(taker.handler).or_default().insert(taker.known_as);
    }
    assert_eq!(seen.len(), STARTS + 2);
    assert!(seen.values().all(|known_as| known_as.len() == 1), "each is known as one thing: {seen:?}");
    let distinct: BTreeSet<_> = seen.values().flatten().collect();
    assert_eq!(distinct.len(), seen.len(), "and as something of its own: {seen:?}");
    assert!(distinct.contains(&String::new()), "one is known by the message alone: {seen:?}");
}
