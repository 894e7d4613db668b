//! The ledger of a single process.

use proptest::prelude::*;

use super::*;

fn key(name: &'static str) -> OrderKey {
    ("orders".into(), Bytes::from_static(name.as_bytes()))
}

/// Returns the ledger of a single process after its first scan.
fn ledger<T: Clone>() -> Ledger<T> {
    let mut ledger = Ledger::alone();
    let scan = ledger.begin_scan(100);
    ledger.end_scan(scan, Vec::new());
    ledger
}

/// Returns rows as they are passed to the ledger.
fn rows(ids: &[i64]) -> Vec<(i64, Shard)> {
    ids.iter().filter_map(|id| Some((*id, Shard::new(0)?))).collect()
}

fn ids(taken: Vec<(i64, ())>) -> Vec<i64> {
    taken.into_iter().map(|(id, ())| id).collect()
}

#[test]
fn an_open_transaction_holds_its_keys_back_and_no_others() {
    let mut ledger = ledger();
    let ticket = ledger.begin();
    ledger.stage(ticket, 1, key("a"), ());
    ledger.stage(ticket, 2, key("a"), ());
    ledger.stage(ticket, 3, key("b"), ());
    ledger.commit(ticket, &rows(&[2, 3]));
    assert_eq!(ids(ledger.take(10, |_| true)), [3]);
    ledger.commit(ticket, &rows(&[1]));
    assert_eq!(ids(ledger.take(10, |_| true)), [1, 2]);
}

#[test]
fn a_row_behind_an_open_transaction_is_not_ready() {
    let mut ledger = ledger();
    let ticket = ledger.begin();
    ledger.stage(ticket, 1, key("a"), ());
    ledger.stage(ticket, 2, key("a"), ());
    ledger.commit(ticket, &rows(&[2]));
    assert!(!ledger.has_ready(|_| true));
    ledger.commit(ticket, &rows(&[1]));
    assert!(ledger.has_ready(|_| true));
}

#[test]
fn a_topic_can_be_left_alone() {
    let mut ledger = ledger();
    let ticket = ledger.begin();
    ledger.stage(ticket, 1, key("a"), ());
    ledger.stage(ticket, 2, ("payments".into(), Bytes::new()), ());
    ledger.commit(ticket, &rows(&[1, 2]));
    assert_eq!(ids(ledger.take(9, |topic| topic != "orders")), [2]);
    assert!(!ledger.has_ready(|topic| topic != "orders") && ledger.has_ready(|topic| topic == "orders"));
}

#[test]
fn a_rollback_frees_the_key() {
    let mut ledger = ledger();
    let ticket = ledger.begin();
    ledger.stage(ticket, 1, key("a"), ());
    ledger.stage(ticket, 2, key("a"), ());
    ledger.commit(ticket, &rows(&[2]));
    ledger.roll_back(ticket, &rows(&[1]));
    assert_eq!(ids(ledger.take(10, |_| true)), [2]);
}

#[test]
fn a_row_in_doubt_holds_its_key_back_until_it_is_known() {
    let mut ledger = ledger();
    let ticket = ledger.begin();
    ledger.stage(ticket, 1, key("a"), ());
    ledger.stage(ticket, 2, key("a"), ());
    ledger.mark_in_doubt(ticket, &rows(&[1]));
    ledger.commit(ticket, &rows(&[2]));
    assert_eq!((ids(ledger.take(10, |_| true)), ledger.in_doubt()), (vec![], vec![(1, Shard::of("orders", b"a"), ticket)]));
    ledger.commit(ticket, &rows(&[1]));
    assert_eq!(ids(ledger.take(10, |_| true)), [1, 2]);
}

#[test]
fn an_id_that_is_given_again_is_another_row() {
    let mut ledger = ledger();
    let (first, second) = (ledger.begin(), ledger.begin());
    ledger.stage(first, 1, key("a"), "first");
    ledger.stage(second, 1, key("b"), "second");
    ledger.mark_in_doubt(first, &rows(&[1]));
    ledger.roll_back(first, &rows(&[1]));
    ledger.stage(second, 2, key("a"), "behind");
    ledger.commit(second, &rows(&[1, 2]));
    assert_eq!(ledger.take(9, |_| true), [(1, "second"), (2, "behind")]);
}

#[test]
fn what_was_under_way_when_the_sender_broke_off_is_sent_and_removed_again() {
    let mut ledger = ledger();
    let ticket = ledger.begin();
    (1..=3).for_each(|id| ledger.stage(ticket, id, key("a"), ()));
    ledger.commit(ticket, &rows(&[1, 2, 3]));
    assert_eq!(ids(ledger.take(1, |_| true)), [1]);
    ledger.sent(1);
    assert_eq!(ledger.take_sent(), [1]);
    assert_eq!(ids(ledger.take(9, |_| true)), [2, 3]);
    ledger.broken_off();
    assert_eq!(ledger.take_sent(), [1]);
    ledger.removed(&[1]);
    assert_eq!(ids(ledger.take(9, |_| true)), [2, 3]);
}

#[test]
fn a_failed_row_is_sent_again_before_its_followers() {
    let mut ledger = ledger();
    let ticket = ledger.begin();
    (1..=3).for_each(|id| ledger.stage(ticket, id, key("a"), ()));
    ledger.commit(ticket, &rows(&[1, 2, 3]));
    assert_eq!(ids(ledger.take(2, |_| true)), [1, 2]);
    assert!(ledger.take(2, |_| true).is_empty());
    ledger.failed(1);
    ledger.failed(2);
    assert_eq!(ids(ledger.take(10, |_| true)), [1, 2, 3]);
    (1..=3).for_each(|id| ledger.sent(id));
    let sent = ledger.take_sent();
    assert_eq!((sent.as_slice(), ledger.len()), (&[1, 2, 3][..], 3));
    ledger.removed(&sent);
    assert!(ledger.rows.is_empty());
}

proptest! {
    /// For any order of stages, commits, rollbacks, sends and failures: the rows of a key are sent in the order of their ids, no
    /// committed row is lost, and no other row is sent.
    #[test]
    fn rows_leave_in_order_and_none_is_lost(steps in proptest::collection::vec((0_u8..6, 0_usize..40, 0_u8..3), 1..300)) {
        let mut ledger = ledger();
        let ticket = ledger.begin();
        let (mut next, mut open, mut sending) = (1_i64, Vec::<i64>::new(), Vec::<(i64, u8)>::new());
        let (mut committed, mut sent) = (Vec::new(), HashMap::<u8, Vec<i64>>::new());
        for (what, which, of) in steps {
            match what {
                0 | 1 => {
                    ledger.stage(ticket, next, ("t".into(), Bytes::from(vec![of])), of);
                    open.push(next);
                    next += 1;
                }
                2 | 3 if !open.is_empty() => {
                    let id = open.remove(which % open.len());
                    if of == 0 { ledger.roll_back(ticket, &rows(&[id])) } else { ledger.commit(ticket, &rows(&[id])); committed.push(id); }
                }
                4 if sending.is_empty() => sending = ledger.take(which, |_| true),
                5 => {
                    // The transport stores a prefix of a batch.
                    let stored = which % (sending.len() + 1);
                    for (at, (id, of)) in std::mem::take(&mut sending).into_iter().enumerate() {
                        if at < stored { ledger.sent(id); sent.entry(of).or_default().push(id) } else { ledger.failed(id) }
                    }
                }
                _ => {}
            }
        }
        sending.iter().for_each(|(id, _)| ledger.failed(*id));
        ledger.roll_back(ticket, &rows(&open));
        for (id, of) in ledger.take(usize::MAX, |_| true) {
            ledger.sent(id);
            sent.entry(of).or_default().push(id);
        }
        prop_assert!(sent.values().all(|ids| ids.is_sorted()));
        let mut all: Vec<i64> = sent.into_values().flatten().collect();
        all.sort_unstable();
        committed.sort_unstable();
        prop_assert_eq!(all, committed);
    }
}
