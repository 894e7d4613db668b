//! The handlers of an event change from one program to the next while its messages are in flight: no message is lost for a
//! handler, and no handler handles one twice.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sagas::{
    Handle, Settings, StartError,
    dead_letter::{DeadLetter, DeadLetterState},
    handler::Handler,
    id::MessageId,
    message::{Header, headers},
    port::store::InboxKey,
    prelude::*,
    testing::Pump,
    time::Clock,
    transport::memory::Memory,
};

use crate::{
    listeners::Ear,
    log_lines::Lines,
    support::{
        instance::{Instance, partitions, publish},
        *,
    },
};

#[handler(retry(max = 3, backoff = "1s..1s"))]
pub async fn a(On(placed): On<Placed>, _tx: Tx, State(ear): State<Ear>) -> Result<(), Failure> {
    ear.hear("a", &placed)
}

#[handler(retry(max = 3, backoff = "1s..1s"))]
pub async fn b(On(placed): On<Placed>, _tx: Tx, State(ear): State<Ear>) -> Result<(), Failure> {
    ear.hear("b", &placed)
}

/// Calls another system.
#[handler(retry(max = 3, backoff = "1s..1s"))]
pub async fn c(On(placed): On<Placed>, work: Work, State(ear): State<Ear>) -> Result<(), Failure> {
    ear.hear("c", &placed)?;
    work.begin().await?;
    Ok(())
}

/// A service whose programs run one after another.
pub struct World {
    pub database: Database,
    pub ear: Ear,
    clock: Clock,
    log: Arc<Memory>,
    starts: u64,
    pub settings: Settings,
}

impl World {
    pub fn of(database: Database) -> Self {
        let clock = clock();
        let log = Arc::new(Memory::with_clock(clock.clone()));
        Self { database, ear: Ear::default(), clock, log, starts: 0, settings: Settings::default() }
    }

    /// Starts the next program, with these handlers.
    pub async fn start(&mut self, handlers: impl IntoIterator<Item = Handler>) -> Pump {
        self.starts += 1;
        let service = service(&self.database, &Plan::done()).state(self.ear.clone()).handlers(handlers);
        let service = service.settings(self.settings.clone());
        Pump::of([service]).on(self.log.clone()).clock(self.clock.clone()).seed(self.starts).start().await
    }

    /// Like `start`, as an app without a pump, whose start can fail.
    async fn start_app(&self, handlers: impl IntoIterator<Item = Handler>) -> Result<Handle, StartError> {
        let service = service(&self.database, &Plan::done()).state(self.ear.clone()).handlers(handlers);
        App::new("app").service(service).clock(self.clock.clone()).start(self.log.clone()).await
    }

    /// Publishes these numbers, and returns which handler handled what, sorted.
    pub async fn hear(&self, pump: &Pump, numbers: &[u32]) -> Vec<(&'static str, u32)> {
        for number in numbers {
            pump.publish(&placed("a", *number)).await;
        }
        self.heard(pump).await
    }

    /// Like `hear`, for a second delivery of everything that was published.
    pub async fn hear_again(&self, pump: &Pump) -> Vec<(&'static str, u32)> {
        for copy in pump.records("orders").await {
            pump.publish_record((*copy.record).clone()).await;
        }
        self.heard(pump).await
    }

    pub async fn heard(&self, pump: &Pump) -> Vec<(&'static str, u32)> {
        pump.run_until_quiet().await;
        let mut heard = self.ear.heard();
        heard.sort_unstable();
        heard
    }
}

pub async fn letters(pump: &Pump) -> Vec<DeadLetter> {
    pump.service("payments").dead_letters(0, 10).await.unwrap().0
}

#[tokio::test]
async fn one_that_is_added_has_nothing_of_who_was_there() {
    for order in [|| handlers![a, b].to_vec(), || handlers![b, a].to_vec()] {
        for database in databases().await {
            let mut world = World::of(database);
            let pump = world.start(handlers![a]).await;
            assert_eq!(world.hear(&pump, &[1]).await, [("a", 1)]);
            drop(pump);
            let pump = world.start(order()).await;
            assert_eq!(world.hear(&pump, &[2]).await, [("a", 2), ("b", 2)]);
            assert_eq!(world.hear_again(&pump).await, [("b", 1)], "it was not there when that came");
            assert_eq!(world.hear_again(&pump).await, []);
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn their_order_is_only_that_of_the_calls() {
    for database in databases().await {
        let mut world = World::of(database);
        let pump = world.start(handlers![a, b, c]).await;
        world.ear.fail(&[("b", 2)]);
        let first = world.hear(&pump, &[1, 2]).await;
        assert_eq!(first, [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)]);
        drop(pump);
        world.ear.fail(&[]);
        let pump = world.start(handlers![c, b, a]).await;
        pump.advance(Duration::from_secs(2)).await;
        assert_eq!(world.heard(&pump).await, [("b", 2), ("c", 2)], "what was parked");
        assert_eq!(world.hear_again(&pump).await, []);
        drop(pump);
        // Only the handler that has not handled the message yet handles it now.
        let pump = world.start(handlers![b, a]).await;
        assert_eq!(world.hear(&pump, &[3]).await, [("a", 3), ("b", 3)]);
        drop(pump);
        let pump = world.start(handlers![c, a, b]).await;
        assert_eq!(world.hear_again(&pump).await, [("c", 3)]);
        pump.stop().await;
    }
}

#[tokio::test]
async fn nobody_has_what_is_left_by_one_that_is_removed() {
    for database in databases().await {
        let mut world = World::of(database);
        let pump = world.start(handlers![a]).await;
        world.hear(&pump, &[1]).await;
        drop(pump);
        let pump = world.start(handlers![a, b]).await;
        world.hear(&pump, &[2]).await;
        drop(pump);
        let pump = world.start(handlers![b]).await;
        assert_eq!(world.hear_again(&pump).await, [("b", 1)], "what only the other has handled, and not what both have");
        drop(pump);
        // A handler that returns keeps its identity.
        let pump = world.start(handlers![b, a]).await;
        assert_eq!(world.hear_again(&pump).await, []);
        pump.stop().await;
    }
}

#[tokio::test]
async fn one_alone_may_have_another_name() {
    for database in databases().await {
        let mut world = World::of(database);
        let pump = world.start(handlers![a]).await;
        world.ear.fail(&[("a", 2)]);
        assert_eq!(world.hear(&pump, &[1, 2]).await, [("a", 1), ("a", 2)]);
        let parked = world.database.store().parked("payments", "orders", b"a", 10).await.unwrap();
        assert_eq!(parked[0].received.record.header(headers::HANDLER), Some("a"), "it is said also where there is one");
        drop(pump);
        let pump = world.start(handlers![c]).await;
        pump.advance(Duration::from_secs(2)).await;
        assert_eq!(world.heard(&pump).await, [("c", 2)]);
        assert_eq!(world.hear_again(&pump).await, []);
        drop(pump);
        // Both names belong to one handler, whichever program starts last, because no program has both.
        for last in [handlers![c], handlers![a]] {
            drop(world.start(last).await);
            let error = world.start_app(handlers![a, c]).await.err().unwrap().to_string();
            assert!(error.contains("`a` and `c` of Placed (topic `orders`) are stored as two names of one handler"), "{error}");
        }
        let pump = world.start(handlers![b, c]).await;
        assert_eq!(world.hear_again(&pump).await, [("b", 1), ("b", 2)]);
        pump.stop().await;
    }
}

#[tokio::test]
async fn what_is_written_down_before_anything_is_heard_holds() {
    for database in databases().await {
        let mut world = World::of(database);
        // The program dies before it has read anything.
        drop(world.start(handlers![b, a]).await);
        let pump = world.start(handlers![a, b]).await;
        world.ear.fail(&[("b", 1)]);
        assert_eq!(world.hear(&pump, &[1]).await, [("a", 1), ("b", 1)]);
        drop(pump);
        world.ear.fail(&[]);
        let pump = world.start(handlers![b, a]).await;
        pump.advance(Duration::from_secs(2)).await;
        assert_eq!(world.heard(&pump).await, [("b", 1)]);
        assert_eq!(world.hear_again(&pump).await, []);
        pump.stop().await;
    }
}

#[tokio::test]
async fn where_nothing_is_written_down_the_first_is_known_by_the_message_alone() {
    for database in databases().await {
        // The state that a program without the list of handlers has left.
        let store = database.store();
        store.migrate().await.unwrap();
        store.handled().note("payments", &[("orders".to_owned(), "Placed".to_owned())], &[]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let claims = ["7", "8", "8\u{1f}b"].map(|id| InboxKey { source: "shop".to_owned(), id: MessageId::new(id) });
        tx.claim("payments", &claims, clock().now()).await.unwrap();
        tx.commit().await.unwrap();
        let mut world = World::of(database);
        let pump = world.start(handlers![a, b]).await;
        for (id, number) in [("7", 7), ("8", 8)] {
            let value = format!(r#"{{"order_id":"a","number":{number}}}"#);
            let headers = [("ce_type", "Placed"), ("ce_source", "shop"), ("ce_id", id)];
            pump.publish_record(record(Some(b"a"), Some(value.as_bytes()), &headers)).await;
        }
        assert_eq!(world.heard(&pump).await, [("b", 7)]);
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_record_that_fits_none_is_one_letter_and_is_for_all_of_them_when_it_fits() {
    for database in databases().await {
        let mut world = World::of(database);
        world.settings.max_record_bytes = 10;
        let pump = world.start(handlers![a, b, c]).await;
        assert_eq!(world.hear(&pump, &[1, 2]).await, []);
        let given_up = letters(&pump).await;
        assert_eq!(given_up.iter().map(DeadLetter::handler).collect::<Vec<_>>(), [None, None], "one for each record");
        assert_eq!(pump.records("payments.dlt").await.len(), 2);
        drop(pump);
        world.settings.max_record_bytes = Settings::default().max_record_bytes;
        let pump = world.start(handlers![a, b, c]).await;
        assert!(pump.service("payments").retry_dead_letter(&given_up[1].id).await.unwrap());
        assert_eq!(world.heard(&pump).await, [("a", 1), ("b", 1), ("c", 1)]);
        // The second message is delivered again before its retry: the handler that is identified by the message alone settles the
        // dead letter.
        assert_eq!(world.hear_again(&pump).await, [("a", 2), ("b", 2), ("c", 2)]);
        let second = pump.service("payments").dead_letter(&given_up[0].id).await.unwrap().unwrap();
        assert_eq!(second.state, DeadLetterState::Replayed);
        assert_eq!(world.hear_again(&pump).await, []);
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_record_that_does_not_say_what_it_is_is_one_letter() {
    for database in databases().await {
        let mut world = World::of(database);
        let pump = world.start(handlers![a, b, c]).await;
        let mut unreadable = record(Some(b"a"), Some(br#"{"order_id":"a","number":1}"#), &[]);
        unreadable.headers.push(Header { name: headers::TYPE.to_owned(), value: Some([0xff].to_vec().into()) });
        pump.publish_record(unreadable).await;
        assert_eq!(world.heard(&pump).await, []);
        let [letter] = &letters(&pump).await[..] else { panic!("one record is one letter") };
        assert!(letter.error.contains("ce_type") && letter.handler().is_none(), "{letter:?}");
        assert!(pump.service("payments").retry_dead_letter(&letter.id).await.unwrap());
        assert_eq!(world.heard(&pump).await, []);
        let [again] = &letters(&pump).await[..] else { panic!("and is one again") };
        assert!(again.id != letter.id && again.handler().is_none(), "{again:?}");
        pump.stop().await;
    }
}

#[tokio::test]
async fn a_letter_of_nobody_is_handled_once_by_each_that_has_not() {
    for database in databases().await {
        let mut world = World::of(database);
        // No handler is left that is identified by the message alone.
        drop(world.start(handlers![a, b, c]).await);
        world.settings.max_record_bytes = 10;
        let pump = world.start(handlers![b, c]).await;
        assert_eq!(world.hear(&pump, &[1]).await, []);
        let letter = letters(&pump).await.remove(0);
        drop(pump);
        world.settings.max_record_bytes = Settings::default().max_record_bytes;
        let pump = world.start(handlers![c]).await;
        assert_eq!(world.hear_again(&pump).await, [("c", 1)]);
        drop(pump);
        let pump = world.start(handlers![b, c]).await;
        assert!(pump.service("payments").retry_dead_letter(&letter.id).await.unwrap());
        assert_eq!(world.heard(&pump).await, [("b", 1)], "the other has handled it");
        assert_eq!(world.hear_again(&pump).await, []);
        assert_eq!(world.database.store().parked_keys("payments").await.unwrap(), []);
        pump.stop().await;
    }
}

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Withdrawn {
    order_id: String,
}

#[handler]
pub async fn withdraw(On(_): On<Withdrawn>) {}

#[tokio::test]
async fn what_nobody_took_is_for_all_that_take_it_again() {
    for database in databases().await {
        let mut world = World::of(database);
        drop(world.start(handlers![a, b]).await);
        let pump = world.start(handlers![withdraw]).await;
        assert_eq!(world.hear(&pump, &[1]).await, []);
        let [letter] = &letters(&pump).await[..] else { panic!("one record is one letter") };
        assert_eq!(letter.handler(), None);
        drop(pump);
        let pump = world.start(handlers![b, a, withdraw]).await;
        assert!(pump.service("payments").retry_dead_letter(&letter.id).await.unwrap());
        assert_eq!(world.heard(&pump).await, [("a", 1), ("b", 1)]);
        assert_eq!(world.hear_again(&pump).await, []);
        pump.stop().await;
    }
}

#[tokio::test]
async fn copies_of_a_record_that_fits_none_are_one_letter_also_in_one_transaction() {
    for database in databases().await {
        let mut world = World::of(database);
        world.settings.max_record_bytes = 10;
        let pump = world.start(handlers![a, b, c]).await;
        let headers = [("ce_type", "Placed"), ("ce_source", "shop"), ("ce_id", "7")];
        for _ in 0..2 {
            pump.publish_record(record(Some(b"a"), Some(br#"{"order_id":"a","number":7}"#), &headers)).await;
        }
        assert_eq!(world.heard(&pump).await, []);
        let letters = letters(&pump).await;
        assert_eq!(letters.iter().map(DeadLetter::handler).collect::<Vec<_>>(), [None]);
        pump.stop().await;
    }
}

#[tokio::test]
async fn what_is_behind_one_that_failed_costs_it_no_attempt() {
    for database in databases().await {
        let mut world = World::of(database);
        // A record with a long number exceeds the limit.
        world.settings.max_record_bytes = 30;
        world.ear.fail(&[("c", 1)]);
        let pump = world.start(handlers![a, c]).await;
        assert_eq!(world.hear(&pump, &[1, 1_000_000]).await, [("a", 1), ("c", 1)]);
        let letter = letters(&pump).await.remove(0);
        drop(pump);
        world.settings.max_record_bytes = Settings::default().max_record_bytes;
        let pump = world.start(handlers![a, c]).await;
        assert!(pump.service("payments").retry_dead_letter(&letter.id).await.unwrap());
        pump.advance(Duration::from_secs(1)).await;
        assert_eq!(world.heard(&pump).await, [("c", 1)], "its next attempt waits for its time");
        world.ear.fail(&[]);
        pump.advance(Duration::from_secs(2)).await;
        assert_eq!(world.heard(&pump).await, [("a", 1_000_000), ("c", 1), ("c", 1_000_000)]);
        assert_eq!(pump.service("payments").dead_letters(0, 10).await.unwrap().1, 0);
        pump.stop().await;
    }
}

/// The handled messages of each handler, as a set: a call whose partition was revoked meanwhile is repeated.
type All = BTreeSet<(&'static str, u32)>;

/// Old and new programs run in parallel, each with its own partitions, and then the old one starts again. Returns what is handled
/// then, and what after a second delivery of everything.
async fn side_by_side(database: Database, before: &[Handler], after: &[Handler]) -> [All; 2] {
    let (clock, ear) = (clock(), Ear::default());
    let log = Memory::with_clock(clock.clone());
    let start = async |handlers: &[Handler], seed| {
        let payments = service(&database, &Plan::done()).state(ear.clone()).handlers(handlers.to_vec()).settings(partitions(6));
        Instance::start(payments, &log, &clock, seed).await
    };
    let hear = async |numbers: std::ops::Range<u32>| {
        for number in numbers {
            publish(&log, &format!("o{number}"), number).await;
        }
    };
    let old = start(before, 1).await;
    hear(0..20).await;
    old.quiet().await;
    let new = start(after, 2).await;
    hear(20..60).await;
    old.quiet().await;
    new.quiet().await;
    drop(old);
    let old = start(before, 3).await;
    hear(60..100).await;
    old.quiet().await;
    new.quiet().await;
    drop(old);
    new.quiet().await;
    let first = ear.heard().into_iter().collect();
    hear(0..100).await;
    new.quiet().await;
    assert!(new.handle.stop().await);
    [first, ear.heard().into_iter().collect()]
}

#[tokio::test]
async fn programs_of_before_and_after_agree_while_both_run() {
    let all = |name| (0..100).map(move |number| (name, number));
    for database in databases().await {
        let [first, again] = side_by_side(database, &handlers![a], &handlers![b, a]).await;
        assert_eq!(first.intersection(&again).next(), None, "no handler handles a message twice");
        assert_eq!(first.union(&again).copied().collect::<Vec<_>>(), all("a").chain(all("b")).collect::<Vec<_>>());
    }
    for database in databases().await {
        let [first, again] = side_by_side(database, &handlers![a], &handlers![c]).await;
        let numbers: BTreeSet<_> = first.into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, (0..100).collect(), "it is heard under either name");
        assert_eq!(again, All::new(), "and under none again");
    }
}

#[tokio::test]
async fn one_that_is_gone_is_told_once() {
    let mut world = World::of(Database::memory());
    let (lines, _guard) = Lines::heard(tracing::Level::INFO);
    let starts = [handlers![a, b].to_vec(), handlers![b].to_vec(), handlers![b].to_vec(), handlers![c].to_vec()];
    for handlers in starts {
        drop(world.start(handlers).await);
    }
    let told = lines.with("no longer takes Placed");
    let [line] = &told[..] else { panic!("{told:?}") };
    assert!(line.contains(" WARN ") && line.contains("the handler `a`") && line.contains("handler=\"a\""), "{line}");
}
