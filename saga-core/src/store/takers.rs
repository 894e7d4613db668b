//! Under which keys the inbox stores the messages of several handlers of one event.
//!
//! For the first handler that a service has for an event, the inbox key is the message id alone. For each further handler, it is the
//! message id and a name. These names are stored, so that they do not change when handlers are added, removed or reordered.

use std::collections::BTreeMap;

use super::StoreError;
use crate::message::EventType;

/// An event that a service takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The topic.
    pub topic: String,
    /// One of the event's names.
    pub event: String,
    /// The event's other names.
    pub also: Vec<String>,
    /// The service's own handlers of the event, in the order in which they are called.
    pub handlers: Vec<String>,
}

/// A handler of an event, under one of the event's names, with its part of the inbox key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taker {
    /// The topic of the event.
    pub topic: String,
    /// The event's name.
    pub event: String,
    /// The handler's name.
    pub handler: String,
    /// The suffix of the message id in the inbox; empty for the handler whose key is the message id alone. Two takers of an event have the
    /// same suffix only if they are two names of one handler that was renamed. At most one of them takes the event.
    pub known_as: String,
    /// Whether the handler takes the event in the program that started last. A handler that was removed keeps its suffix.
    pub takes: bool,
}

/// The stored handlers of a service, and those that were removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// All takers of the service, in order.
    pub all: Vec<Taker>,
    /// The handlers that took their event until now and no longer do. A handler that was renamed is not among them.
    pub gone: Vec<Taker>,
}

/// Computes the rows to store for a service that has the rows `known` and now takes `taken`. Rows are added. Of an existing row only
/// [`Taker::takes`] changes, because running programs have already read the suffixes of their handlers.
///
/// # Errors
/// When two of the handlers are the same handler: an earlier program had one in the place of the other.
pub(crate) fn assign(known: Vec<Taker>, taken: &[Taken]) -> Result<Assignment, StoreError> {
    let (mut all, mut gone) = (known.clone(), Vec::new());
    for event in taken {
        let is_of = |taker: &Taker, name: &str| taker.topic == event.topic && taker.event == name;
        let (mut here, others) = all.into_iter().partition::<Vec<_>, _>(|taker| is_of(taker, &event.event));
        if here.is_empty() && !event.handlers.is_empty() {
            // The event has a new name: its handlers have the suffixes that they have under its other names.
            let before = event.also.iter().find(|name| known.iter().any(|taker| is_of(taker, name)));
            let before = known.iter().filter(|taker| before.is_some_and(|name| is_of(taker, name)));
            here.extend(before.map(|taker| Taker { event: event.event.clone(), ..taker.clone() }));
        }
        settle(event, &mut here, &mut gone)?;
        all = others;
        all.append(&mut here);
    }
    all.sort_unstable();
    Ok(Assignment { all, gone })
}

/// Updates `here`, the handlers that take `event` or did. No row is removed, so that an older program that starts again finds its rows.
fn settle(event: &Taken, here: &mut Vec<Taker>, gone: &mut Vec<Taker>) -> Result<(), StoreError> {
    let before: Vec<Taker> = here.iter().filter(|taker| taker.takes).cloned().collect();
    here.iter_mut().for_each(|taker| taker.takes = false);
    let of = |name: &str, here: &[Taker]| here.iter().position(|taker| taker.handler == name);
    // A single handler whose name differs from the single handler before was renamed: both names have the same messages.
    if let ([name], [one]) = (&event.handlers[..], &before[..])
        && of(name, here).is_none()
    {
        here.push(Taker { handler: name.clone(), takes: false, ..one.clone() });
    }
    for name in &event.handlers {
        let Some(at) = of(name, here) else {
            let known_as = if here.is_empty() { String::new() } else { free(name, here) };
            let (topic, event, handler) = (event.topic.clone(), event.event.clone(), name.clone());
            here.push(Taker { topic, event, handler, known_as, takes: true });
            continue;
        };
        if let Some(one) = here.iter().find(|taker| taker.takes && taker.known_as == here[at].known_as) {
            return Err(StoreError::Incompatible(format!(
                "its handlers `{}` and `{name}` of {} (topic `{}`) are stored as two names of one handler, because an earlier program had \
                 one of them in the place of the other: the messages that each has handled cannot be distinguished. Give the new one a \
                 name that no handler of the event has had",
                one.handler, event.event, event.topic
            )));
        }
        here[at].takes = true;
    }
    let is_replaced = |one: &Taker| here.iter().any(|taker| taker.takes && taker.known_as == one.known_as);
    gone.extend(before.into_iter().filter(|one| !is_replaced(one)));
    Ok(())
}

/// The handlers of an event of `topic` whose suffix is not empty, as pairs of suffix and name. For a record without an event name, those of
/// all events of the topic.
pub(crate) fn takers_known_by_more<'t>(
    written: &'t [Taker],
    topic: &str,
    event: Option<&str>,
) -> impl Iterator<Item = (&'t str, &'t str)> + use<'t> {
    let is_named = written.iter().any(|taker| taker.topic == topic && Some(taker.event.as_str()) == event);
    let event = if is_named { event } else { event.map(|_| EventType::ANY) };
    let of_event = |taker: &&Taker| taker.topic == topic && event.is_none_or(|event| taker.event == event);
    let mut found = BTreeMap::new();
    for taker in written.iter().filter(of_event).filter(|taker| !taker.known_as.is_empty()) {
        let name = found.entry(taker.known_as.as_str()).or_insert(taker.handler.as_str());
        // If several names share a suffix, use the current one.
        if taker.takes {
            *name = &taker.handler;
        }
    }
    found.into_iter()
}

/// The first of `name`, `name-2`, `name-3` .. that no row of `here` has as its suffix.
fn free(name: &str, here: &[Taker]) -> String {
    let is_free = |known_as: &String| here.iter().all(|taker| taker.known_as != *known_as);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(handlers: &[&str]) -> Taken {
        let handlers = handlers.iter().map(|&handler| handler.to_owned()).collect();
        Taken { topic: "orders".to_owned(), event: "Placed".to_owned(), also: Vec::new(), handlers }
    }

    /// The suffixes of the handlers that take the event after a service has started with each of `starts`, and the handlers that were
    /// removed at each start.
    fn after(starts: &[&[&str]]) -> (Vec<(String, String)>, Vec<Vec<String>>) {
        let (mut known, mut gone) = (Vec::new(), Vec::new());
        for handlers in starts {
            let assigned = assign(known, &[taken(handlers)]).expect("it fits");
            let mut known_as: Vec<_> = assigned.all.iter().filter(|taker| taker.takes).map(|taker| &taker.known_as).collect();
            known_as.sort_unstable();
            known_as.dedup();
            assert_eq!(known_as.len(), handlers.len(), "each is known as something of its own: {:?}", assigned.all);
            gone.push(assigned.gone.into_iter().map(|taker| taker.handler).collect());
            known = assigned.all;
        }
        let takers = known.into_iter().filter(|taker| taker.takes).map(|taker| (taker.handler, taker.known_as));
        (takers.collect(), gone)
    }

    /// A description, the handlers at each start, and the expected handlers with their suffixes after the last start.
    type Case = (&'static str, &'static [&'static [&'static str]], &'static [(&'static str, &'static str)]);

    #[test]
    fn what_a_handler_is_known_as_stays_its_own() {
        let table: &[Case] = &[
            ("the first in the order of calls", &[&["b", "a"]], &[("a", "a"), ("b", "")]),
            ("the same again", &[&["b", "a"], &["b", "a"]], &[("a", "a"), ("b", "")]),
            ("one is added behind", &[&["a"], &["a", "b"]], &[("a", ""), ("b", "b")]),
            ("one is added before", &[&["a"], &["b", "a"]], &[("a", ""), ("b", "b")]),
            ("another order", &[&["a", "b"], &["b", "a"]], &[("a", ""), ("b", "b")]),
            ("the one known by the message alone is removed", &[&["a", "b", "c"], &["c", "b"]], &[("b", "b"), ("c", "c")]),
            ("and all but one", &[&["a", "b"], &["b"]], &[("b", "b")]),
            ("and comes back", &[&["a", "b"], &["b"], &["b", "a"]], &[("a", ""), ("b", "b")]),
            ("one is added after that", &[&["a", "b"], &["b"], &["c", "b"]], &[("b", "b"), ("c", "c")]),
            ("the only one is renamed", &[&["a"], &["c"]], &[("c", "")]),
            ("and back", &[&["a"], &["c"], &["a"]], &[("a", "")]),
            (
                "and the one before starts late, and then one is added",
                &[&["a"], &["c"], &["a"], &["c", "d"]],
                &[("c", ""), ("d", "d")],
            ),
            ("and that starts late too", &[&["a"], &["c"], &["c", "d"], &["a"], &["d", "c"]], &[("c", ""), ("d", "d")]),
            ("and twice, and the first is back", &[&["a"], &["c"], &["e"], &["a"], &["e"]], &[("e", "")]),
            ("the one that is left is renamed", &[&["a", "b"], &["b"], &["c"]], &[("c", "b")]),
            ("and all of it is taken back", &[&["a", "b"], &["b"], &["c"], &["a", "b"]], &[("a", ""), ("b", "b")]),
            ("and done again", &[&["a", "b"], &["b"], &["c"], &["a", "b"], &["c"]], &[("c", "b")]),
            ("one of two is renamed", &[&["a", "b"], &["x", "b"]], &[("b", "b"), ("x", "x")]),
            ("the only one is renamed beside a new one", &[&["a"], &["x", "y"]], &[("x", "x"), ("y", "y")]),
            ("one stands for two", &[&["a", "b"], &["c"]], &[("c", "c")]),
            ("a tracker takes it, and then another", &[&["a"], &[], &["c"]], &[("c", "c")]),
        ];
        for (name, starts, expected) in table {
            let (takers, _) = after(starts);
            let takers: Vec<_> = takers.iter().map(|(handler, known_as)| (handler.as_str(), known_as.as_str())).collect();
            assert_eq!(takers, *expected, "{name}");
        }
    }

    #[test]
    fn two_names_of_one_handler_are_not_two_handlers() {
        let table: [(&[&[&str]], &[&str]); 4] = [
            (&[&["a"], &["c"]], &["a", "c"]),
            (&[&["a"], &["c"]], &["d", "c", "a"]),
            (&[&["a"], &["c"], &["a"]], &["a", "c"]),
            (&[&["a", "b"], &["b"], &["c"]], &["c", "b"]),
        ];
        for (starts, now) in table {
            let known = starts.iter().fold(Vec::new(), |known, handlers| assign(known, &[taken(handlers)]).expect("it fits").all);
            let error = assign(known, &[taken(now)]).expect_err("two names of one").to_string();
            assert!(error.contains("two names of one handler"), "{error}");
        }
    }

    #[test]
    fn who_takes_it_no_more_is_told_once() {
        let (_, gone) = after(&[&["a", "b"], &["b"], &["b"], &["c"], &["b"], &["c"], &[]]);
        assert_eq!(gone, [&[][..], &["a".to_owned()], &[], &[], &[], &[], &["c".to_owned()]]);
    }

    #[test]
    fn an_event_that_is_renamed_has_the_same_handlers() {
        let before = assign(Vec::new(), &[taken(&["a", "b"])]).expect("it fits").all;
        let now = |event: &str, also: &str| Taken { event: event.to_owned(), also: vec![also.to_owned()], ..taken(&["b", "a"]) };
        let assigned = assign(before, &[now("Opened", "Placed"), now("Placed", "Opened")]).expect("it fits");
        let known: Vec<_> =
            assigned.all.iter().map(|it| (it.event.as_str(), it.handler.as_str(), it.known_as.as_str())).collect();
        assert_eq!(known, [("Opened", "a", ""), ("Opened", "b", "b"), ("Placed", "a", ""), ("Placed", "b", "b")]);
        assert_eq!(assigned.gone, []);
    }

    #[test]
    fn who_may_have_missed_a_record_is_known_by_its_event() {
        let any = Taken { event: EventType::ANY.to_owned(), ..taken(&["x", "y"]) };
        let moved = Taken { event: "Moved".to_owned(), ..taken(&["m", "n"]) };
        let elsewhere = Taken { topic: "bills".to_owned(), ..taken(&["e", "f"]) };
        let (mut known, all) = (Vec::new(), [any, moved, elsewhere]);
        for handlers in [&["a", "b"][..], &["b"], &["c"], &["c", "d"]] {
            known = assign(known, &all.iter().cloned().chain([taken(handlers)]).collect::<Vec<_>>()).expect("it fits").all;
        }
        let table: [(_, &[(&str, &str)]); 4] = [
            (Some("Placed"), &[("b", "c"), ("d", "d")]),
            (Some("Moved"), &[("n", "n")]),
            (Some("Else"), &[("y", "y")]),
            (None, &[("b", "c"), ("d", "d"), ("n", "n"), ("y", "y")]),
        ];
        for (event, expected) in table {
            assert_eq!(takers_known_by_more(&known, "orders", event).collect::<Vec<_>>(), expected, "{event:?}");
        }
    }

    #[test]
    fn what_is_not_taken_now_stays_as_it_was() {
        let before = assign(Vec::new(), &[taken(&["a", "b"])]).expect("it fits").all;
        assert_eq!(assign(before.clone(), &[]).expect("it fits"), Assignment { all: before.clone(), gone: Vec::new() });
        let elsewhere = Taken { topic: "bills".to_owned(), ..taken(&["b"]) };
        let assigned = assign(before.clone(), &[elsewhere]).expect("it fits");
        assert_eq!(assigned.all.len(), 3);
        assert_eq!(assigned.all[1..], before[..]);
        assert_eq!(assigned.all[0].known_as, "");
    }
}
