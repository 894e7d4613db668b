//! A hook that a handler registers is called after its transaction has committed: once, or not at all.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sagas::{App, Settings, UnitOfWork, handler::Handler, prelude::*, testing::Pump, transport::memory::Memory};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{
    store::{Fault, Faults, failing},
    *,
};

/// The hooks that handlers have registered, and what happened to them.
#[derive(Clone, Default)]
struct Hooks(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    given: usize,
    dropped: usize,
    /// The hooks that were called, in order: key, number, attempt.
    called: Vec<(String, u32, u32)>,
}

impl Hooks {
    fn give(&self, tx: &mut Tx, placed: &Placed, attempt: u32) {
        self.0.lock().unwrap().given += 1;
        let hook = GivenHook { hooks: self.clone(), called: false };
        let (key, number) = (placed.order_id.clone(), placed.number);
        tx.after_commit(move || hook.call(key, number, attempt));
    }

    /// Returns the numbers of the called hooks, sorted.
    fn called(&self) -> Vec<u32> {
        let mut called: Vec<_> = self.0.lock().unwrap().called.iter().map(|(_, number, _)| *number).collect();
        called.sort_unstable();
        called
    }

    /// Returns how many hooks are registered and neither called nor dropped.
    fn kept(&self) -> usize {
        let known = self.0.lock().unwrap();
        known.given - known.dropped - known.called.len()
    }

    fn dropped(&self) -> usize {
        self.0.lock().unwrap().dropped
    }

    /// Checks that the hooks of each key were called in the order of the key.
    fn assert_in_order(&self) {
        let mut of_keys: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (key, number, _) in &self.0.lock().unwrap().called {
            of_keys.entry(key.clone()).or_default().push(*number);
        }
        assert!(of_keys.values().all(|numbers| numbers.is_sorted()), "{of_keys:?}");
    }
}

struct GivenHook {
    hooks: Hooks,
    called: bool,
}

impl GivenHook {
    fn call(mut self, key: String, number: u32, attempt: u32) {
        self.called = true;
        self.hooks.0.lock().unwrap().called.push((key, number, attempt));
    }
}

impl Drop for GivenHook {
    fn drop(&mut self) {
        if !self.called {
            self.hooks.0.lock().unwrap().dropped += 1;
        }
    }
}

async fn end<R>(step: Step, placed: Placed, refusal: impl FnOnce(Placed) -> R) -> Result<Charged, Failure<R>> {
    match step {
        Step::Done => Ok(Charged { order_id: placed.order_id, number: placed.number }),
        Step::Reject => Err(Failure::Reject(refusal(placed))),
        Step::Retry => Err(Failure::retry("planned")),
        Step::Later(after) => Err(Failure::Later(after)),
        Step::Dead => Err(Failure::dead("planned")),
        Step::Panic => panic!("planned"),
        Step::Hang => std::future::pending().await,
    }
}

/// Runs without a savepoint.
#[handler(retry(max = 3, backoff = "1s..4s"), timeout = "1h", exhausted = give_up)]
async fn held(
    On(placed): On<Placed>,
    mut tx: Tx,
    meta: Meta,
    State(plan): State<Plan>,
    State(hooks): State<Hooks>,
) -> Result<Charged, Failure> {
    plan.write(&mut tx, &placed).await?;
    hooks.give(&mut tx, &placed, meta.attempt);
    end(plan.step(&placed, &meta), placed, |_| unreachable!("it cannot refuse")).await
}

/// The exhausted handler of the three handlers. It registers a hook of its own, with a number increased by 1,000.
async fn give_up(On(placed): On<Placed>, mut tx: Tx, State(hooks): State<Hooks>) {
    hooks.give(&mut tx, &Placed { number: placed.number + 1_000, ..placed }, 0);
}

/// Runs under a savepoint.
#[handler(retry(max = 3, backoff = "1s..4s"), timeout = "1h", exhausted = give_up)]
async fn declining(
    On(placed): On<Placed>,
    mut tx: Tx,
    meta: Meta,
    State(plan): State<Plan>,
    State(hooks): State<Hooks>,
) -> Result<Charged, Failure<Declined>> {
    plan.write(&mut tx, &placed).await?;
    hooks.give(&mut tx, &placed, meta.attempt);
    end(plan.step(&placed, &meta), placed, declined).await
}

/// Begins its transaction itself.
#[handler(retry(max = 3, backoff = "1s..4s"), timeout = "1h", exhausted = give_up)]
async fn detached(
    On(placed): On<Placed>,
    work: Work,
    meta: Meta,
    State(plan): State<Plan>,
    State(hooks): State<Hooks>,
) -> Result<Charged, Failure<Declined>> {
    let step = plan.step(&placed, &meta);
    let mut tx = work.begin().await?;
    plan.write(&mut tx, &placed).await?;
    hooks.give(&mut tx, &placed, meta.attempt);
    end(step, placed, declined).await
}

/// Takes a batch.
#[handler(retry(max = 3, backoff = "1s..4s"), timeout = "1h", exhausted = give_up)]
async fn batched(
    Batch(batch): Batch<Placed>,
    mut tx: Tx,
    State(plan): State<Plan>,
    State(hooks): State<Hooks>,
) -> Result<Vec<Charged>, Failure<Declined>> {
    let mut charged = Vec::new();
    for (placed, meta) in batch {
        plan.write(&mut tx, &placed).await?;
        hooks.give(&mut tx, &placed, meta.attempt);
        charged.push(end(plan.step(&placed, &meta), placed, declined).await?);
    }
    Ok(charged)
}

fn all() -> [(&'static str, Vec<Handler>); 4] {
    [
        ("held", handlers![held].to_vec()),
        ("refusing", handlers![declining].to_vec()),
        ("detached", handlers![detached].to_vec()),
        ("batched", handlers![batched].to_vec()),
    ]
}

const MESSAGES: u32 = 40;

/// Starts a service for which 40 messages of 8 keys are waiting.
async fn started(database: &Database, plan: &Plan, hooks: &Hooks, handlers: Vec<Handler>) -> Pump {
    let clock = clock();
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let nobody = Service::new("nobody", Database::memory());
    let publisher = Pump::of([nobody]).on(log.clone()).clock(clock.clone()).try_start(&["orders"]).await.unwrap();
    for number in 0..MESSAGES {
        publisher.publish(&placed(&format!("o{}", number % 8), number)).await;
    }
    publisher.stop().await;
    let payments = service(database, plan).state(hooks.clone()).handlers(handlers);
    Pump::of([payments]).on(log).clock(clock).start().await
}

fn but(without: u32) -> Vec<u32> {
    (0..MESSAGES).filter(|number| *number != without).collect()
}

/// The databases. Only the last one, which has SQL, gets rows.
async fn stacks() -> [(Database, fn(Plan) -> Plan); 2] {
    [(Database::memory(), |plan| plan), (sqlite().await, Plan::rows)]
}

#[tokio::test]
async fn each_is_called_once_and_in_the_order_of_its_key() {
    for (name, handlers) in all() {
        for (database, with) in stacks().await {
            let (plan, hooks) = (with(Plan::done()), Hooks::default());
            let pump = started(&database, &plan, &hooks, handlers.clone()).await;
            pump.run_until_quiet().await;
            assert_eq!(hooks.called(), (0..MESSAGES).collect::<Vec<_>>(), "{name}");
            assert_eq!(hooks.kept(), 0);
            hooks.assert_in_order();
        }
    }
}

/// A hook can read what its transaction has written, and no hook is called earlier.
#[tokio::test]
async fn what_was_written_is_there_when_it_is_called() {
    #[derive(Clone)]
    struct Found(Database, mpsc::Sender<(u32, bool)>);

    #[handler]
    async fn reading(
        On(placed): On<Placed>,
        mut tx: Tx,
        State(plan): State<Plan>,
        State(found): State<Found>,
    ) -> Result<(), Failure> {
        plan.write(&mut tx, &placed).await?;
        let Found(database, found) = found;
        tx.after_commit(move || {
            tokio::spawn(async move {
                let there = rows(&database).await.iter().any(|(_, number)| *number == i64::from(placed.number));
                found.send((placed.number, there)).await.unwrap();
            });
        });
        Ok(())
    }

    let (database, plan, (sender, mut found)) = (sqlite().await, Plan::done().rows(), mpsc::channel(MESSAGES as usize));
    let payments = service(&database, &plan).state(Found(database.clone(), sender)).handlers(handlers![reading]);
    let pump = Pump::of([payments]).start().await;
    for number in 0..MESSAGES {
        pump.publish(&placed(&format!("o{number}"), number)).await;
    }
    let mut read = Vec::new();
    while read.len() < MESSAGES as usize {
        read.push(found.recv().await.unwrap());
    }
    read.sort_unstable();
    assert_eq!(read, (0..MESSAGES).map(|number| (number, true)).collect::<Vec<_>>());
    pump.stop().await;
}

/// One message of many fails, in each possible way. Its hook is dropped; the hooks of the others, which run again, are called
/// once.
#[tokio::test]
async fn that_of_a_failure_is_dropped_and_that_of_its_retry_is_called() {
    const OFFENDER: u32 = 19;
    for (name, handlers) in all() {
        for step in [Step::Retry, Step::Panic, Step::Later(Duration::from_secs(1))] {
            for (database, with) in stacks().await {
                let failed = Arc::new(AtomicUsize::new(0));
                let count = failed.clone();
                // The message fails every time within the first moments, in a batch and alone.
                let first = Mutex::new(None);
                let plan = with(Plan::new(move |placed, meta| match placed.number {
                    OFFENDER if meta.now.since(*first.lock().unwrap().get_or_insert(meta.now)) < Duration::from_millis(400) => {
                        count.fetch_add(1, Ordering::SeqCst);
                        step
                    }
                    _ => Step::Done,
                }));
                let hooks = Hooks::default();
                let pump = started(&database, &plan, &hooks, handlers.clone()).await;
                let done = || async { hooks.called().len() == MESSAGES as usize };
                advance_until(pump.clock(), "all hooks are called", done).await;
                settle(&pump, &["payments"]).await;
                assert_eq!(hooks.called(), (0..MESSAGES).collect::<Vec<_>>(), "{name} {step:?}");
                assert_eq!(hooks.kept(), 0);
                hooks.assert_in_order();
                assert!(hooks.dropped() >= failed.load(Ordering::SeqCst), "{name} {step:?}");
                assert!(failed.load(Ordering::SeqCst) > 0, "{name} {step:?}");
                assert_eq!(pump.published::<Charged>().await.len(), MESSAGES as usize);
            }
        }
    }
}

/// Exceeds its timeout once. The clock of this test runs ahead of the database, so other calls can exceed it too.
#[handler(retry(max = 1000, backoff = "1s..4s"), timeout = "1s")]
async fn slow(
    On(placed): On<Placed>,
    mut tx: Tx,
    meta: Meta,
    State(plan): State<Plan>,
    State(hooks): State<Hooks>,
) -> Result<Charged, Failure> {
    hooks.give(&mut tx, &placed, meta.attempt);
    end(plan.step(&placed, &meta), placed, |_| unreachable!("it cannot refuse")).await
}

#[tokio::test]
async fn that_of_a_handler_whose_time_is_over_is_dropped() {
    for database in databases().await {
        let plan = Plan::new(|placed, meta| if placed.number == 19 && meta.attempt == 1 { Step::Hang } else { Step::Done });
        let hooks = Hooks::default();
        let pump = started(&database, &plan, &hooks, handlers![slow].to_vec()).await;
        settle(&pump, &["payments"]).await;
        assert_eq!(hooks.called(), (0..MESSAGES).collect::<Vec<_>>());
        assert!(hooks.dropped() > 0 && hooks.kept() == 0);
        assert!(hooks.0.lock().unwrap().called.iter().all(|(_, number, attempt)| *number != 19 || *attempt > 1));
    }
}

#[tokio::test]
async fn that_of_a_refusal_is_dropped() {
    const OFFENDER: u32 = 19;
    for (name, handlers) in all().into_iter().skip(1) {
        for (database, with) in stacks().await {
            let plan = with(Plan::new(|placed, _| if placed.number == OFFENDER { Step::Reject } else { Step::Done }));
            let hooks = Hooks::default();
            let pump = started(&database, &plan, &hooks, handlers.clone()).await;
            settle(&pump, &["payments"]).await;
            assert_eq!(hooks.called(), but(OFFENDER), "{name}");
            assert_eq!(hooks.kept(), 0);
            assert_eq!(pump.published::<Declined>().await.len(), 1, "the refusal itself is committed");
        }
    }
}

/// A message that is given up has only the hook of its exhausted handler, whose transaction commits.
#[tokio::test]
async fn that_of_the_last_words_is_called_with_the_letter() {
    const OFFENDER: u32 = 19;
    for (name, handlers) in all() {
        for (database, with) in stacks().await {
            let plan = with(Plan::new(|placed, _| if placed.number == OFFENDER { Step::Dead } else { Step::Done }));
            let hooks = Hooks::default();
            let pump = started(&database, &plan, &hooks, handlers.clone()).await;
            settle(&pump, &["payments"]).await;
            let mut expected = but(OFFENDER);
            expected.push(OFFENDER + 1_000);
            assert_eq!(hooks.called(), expected, "{name}");
            assert_eq!(hooks.kept(), 0);
            assert_eq!(pump.service("payments").dead_letters(0, 10).await.unwrap().1, 1);
        }
    }
}

/// The first commits fail. The transaction runs again, and the hooks of the committed run are called.
#[tokio::test]
async fn those_of_a_commit_that_fails_are_dropped() {
    for (name, handlers) in all() {
        for (database, with) in stacks().await {
            let (faults, plan, hooks) = (Faults::default(), with(Plan::done()), Hooks::default());
            let failures = Arc::new(AtomicUsize::new(0));
            let count = failures.clone();
            faults.set(move |fault| fault == Fault::Commit && count.fetch_add(1, Ordering::SeqCst) < 3);
            let pump = started(&failing(&database, &faults), &plan, &hooks, handlers.clone()).await;
            settle(&pump, &["payments"]).await;
            assert!(failures.load(Ordering::SeqCst) >= 3, "{name}");
            assert_eq!(hooks.called(), (0..MESSAGES).collect::<Vec<_>>(), "{name}");
            assert_eq!(hooks.kept(), 0);
            assert!(hooks.dropped() >= 3, "{name}: {}", hooks.dropped());
        }
    }
}

/// The database has committed, but its answer was lost. Whether the hooks are due is unknown, so they are not called, not even
/// when the message is delivered again and found to be handled.
#[tokio::test]
async fn those_of_a_commit_without_an_answer_are_not_called() {
    for (name, handlers) in all() {
        for (database, with) in stacks().await {
            let (faults, plan, hooks) = (Faults::default(), with(Plan::done()), Hooks::default());
            let lost = Arc::new(AtomicUsize::new(0));
            let count = lost.clone();
            faults.set(move |fault| fault == Fault::LoseAnswer && count.fetch_add(1, Ordering::SeqCst) == 0);
            let pump = started(&failing(&database, &faults), &plan, &hooks, handlers.clone()).await;
            settle(&pump, &["payments"]).await;
            assert!(lost.load(Ordering::SeqCst) > 0);
            let called = hooks.called();
            assert!(called.windows(2).all(|pair| pair[0] < pair[1]), "{name}: none is called twice: {called:?}");
            assert!(called.len() < MESSAGES as usize, "{name}: those of the lost commit are missing");
            assert!(hooks.dropped() > 0 && hooks.kept() == 0, "{name}");
            assert_eq!(pump.published::<Charged>().await.len(), MESSAGES as usize);
        }
    }
}

/// No transaction with a message of this key commits, so the messages run one by one.
#[tokio::test]
async fn those_of_a_transaction_that_is_run_message_by_message_are_called_once() {
    for (name, handlers) in all() {
        for (database, with) in stacks().await {
            let (faults, plan, hooks) = (Faults::default(), with(Plan::done()), Hooks::default());
            faults.poison("o3");
            let pump = started(&failing(&database, &faults), &plan, &hooks, handlers.clone()).await;
            let others: Vec<_> = (0..MESSAGES).filter(|number| number % 8 != 3).collect();
            let done = || async { hooks.called().len() == others.len() };
            advance_until(pump.clock(), "the others are done", done).await;
            assert_eq!(hooks.called(), others, "{name}");
            faults.clear();
            settle(&pump, &["payments"]).await;
            assert_eq!(hooks.called(), (0..MESSAGES).collect::<Vec<_>>(), "{name}");
            assert_eq!(hooks.kept(), 0);
        }
    }
}

/// Panics in the first of its two hooks.
#[handler]
async fn panicking(
    On(placed): On<Placed>,
    mut tx: Tx,
    meta: Meta,
    State(hooks): State<Hooks>,
    State(plan): State<Plan>,
) -> Charged {
    plan.note(&placed, &meta);
    let number = placed.number;
    tx.after_commit(move || assert!(number % 10 != 3, "the test wants a hook to panic"));
    hooks.give(&mut tx, &placed, meta.attempt);
    Charged { order_id: placed.order_id, number }
}

#[tokio::test]
async fn a_panic_in_one_harms_neither_the_delivery_nor_the_others() {
    for database in databases().await {
        let (plan, hooks) = (Plan::done(), Hooks::default());
        let pump = started(&database, &plan, &hooks, handlers![panicking].to_vec()).await;
        settle(&pump, &["payments"]).await;
        assert_eq!(hooks.called(), (0..MESSAGES).collect::<Vec<_>>());
        assert_eq!(plan.calls().len(), MESSAGES as usize, "nothing is run again");
        assert_eq!(pump.published::<Charged>().await.len(), MESSAGES as usize);
        let payments = pump.service("payments");
        assert_eq!(metric(payments, "sagas_task_panics_total", "after_commit").round() as u32, 4);
        assert_eq!(metric(payments, "sagas_handler_panics_total", "").round() as u32, 0);
        let ready = payments.health().ready().await;
        let details = format!("{ready:?}");
        assert!(details.contains("the test wants a hook to panic") && details.contains("after_commit.rs:"), "{details}");
    }
}

async fn work(pump: &Pump, hooks: &Hooks, number: u32) -> UnitOfWork {
    let mut work = pump.service("payments").begin().await.unwrap();
    Plan::done().rows().write(&mut work, &placed("a", number)).await.unwrap();
    work.publish(&placed("a", number)).unwrap();
    hooks.give(&mut work, &placed("a", number), 0);
    work
}

#[tokio::test]
async fn a_unit_of_work_calls_those_of_its_commit() {
    let (database, faults, hooks) = (sqlite().await, Faults::default(), Hooks::default());
    let mut settings = Settings::default();
    settings.max_record_bytes = 1_000;
    let inside = failing(&database, &faults);
    let pump = Pump::of([service(&inside, &Plan::done()).handlers(handlers![bare]).settings(settings)]).start().await;

    let begun = work(&pump, &hooks, 1).await;
    assert_eq!(hooks.kept(), 1, "not before the commit");
    begun.commit().await.unwrap();
    assert_eq!((hooks.called(), hooks.kept()), (vec![1], 0), "and with it");

    drop(work(&pump, &hooks, 2).await);
    let mut refused = work(&pump, &hooks, 3).await;
    refused.publish(&placed(&"x".repeat(2_000), 3)).unwrap();
    refused.commit().await.unwrap_err();
    for (number, fault) in [(4, Fault::Commit), (5, Fault::LoseAnswer), (6, Fault::Append)] {
        let begun = work(&pump, &hooks, number).await;
        faults.set(move |asked| asked == fault);
        begun.commit().await.unwrap_err();
        faults.clear();
    }
    assert_eq!((hooks.called(), hooks.kept(), hooks.dropped()), (vec![1], 0, 5));
    settle(&pump, &["payments"]).await;
    assert_eq!(hooks.called(), [1], "nor when the commit turns out to stand");
    assert_eq!(rows(&database).await, [("a".to_owned(), 1), ("a".to_owned(), 5)]);
}

/// Polls `future` at most `times` times, then drops it.
async fn poll_and_drop<F: Future>(future: F, times: usize) {
    let (mut future, mut left) = (Box::pin(future), times);
    std::future::poll_fn(|cx| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        let _ = future.as_mut().poll(cx).map(|_| left = 0);
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// A client that disconnects leaves either a commit that completes with its hooks, or neither.
#[tokio::test]
async fn a_commit_that_nobody_waits_for_calls_its_own_too() {
    for times in 0..12 {
        let (database, hooks) = (sqlite().await, Hooks::default());
        let pump = Pump::of([service(&database, &Plan::done()).handlers(handlers![bare])]).start().await;
        poll_and_drop(work(&pump, &hooks, 1).await.commit(), times).await;
        until("the commit has ended", || async { hooks.kept() == 0 }).await;
        let written: Vec<_> = rows(&database).await.into_iter().map(|(_, number)| number).collect();
        let called: Vec<_> = hooks.called().into_iter().map(i64::from).collect();
        assert_eq!(called, written, "polled {times} times");
    }
}

/// Waits for the test, after it has registered a hook.
#[handler(timeout = "1h")]
async fn gated(
    On(placed): On<Placed>,
    mut tx: Tx,
    meta: Meta,
    State(gate): State<Arc<Semaphore>>,
    State(plan): State<Plan>,
    State(hooks): State<Hooks>,
) -> Result<Charged, Failure> {
    hooks.give(&mut tx, &placed, meta.attempt);
    plan.note(&placed, &meta);
    gate.acquire().await?.forget();
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

#[tokio::test]
async fn a_stop_waits_for_those_of_what_it_lets_finish_and_drops_those_of_what_it_breaks_off() {
    let (gate, plan, hooks, clock) = (Arc::new(Semaphore::new(0)), Plan::done(), Hooks::default(), clock());
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("payments.db").display());
    let start = async |stop_timeout_ms| {
        let database = Database::open(&file).await.unwrap();
        let mut settings = Settings::default();
        settings.stop_timeout_ms = stop_timeout_ms;
        let payments = service(&database, &plan).state(gate.clone()).state(hooks.clone());
        let payments = payments.handlers(handlers![gated]).settings(settings);
        App::new("shop").service(payments).clock(clock.clone()).start(log.clone()).await.unwrap()
    };
    let publisher = Pump::of([Service::new("nobody", Database::memory())]).on(log.clone()).start().await;

    let handle = start(200).await;
    publisher.publish(&placed("a", 1)).await;
    until("the handler runs", || async { !plan.calls().is_empty() }).await;
    assert!(!handle.stop().await, "it does not end in time");
    until("the hook is dropped", || async { hooks.kept() == 0 }).await;
    assert_eq!((hooks.called(), hooks.dropped()), (vec![], 1));

    let handle = start(60_000).await;
    until("the handler runs again", || async { plan.calls().len() == 2 }).await;
    let (stopped, ()) = tokio::join!(handle.stop(), async { gate.add_permits(1) });
    assert!(stopped);
    assert_eq!((hooks.called(), hooks.kept(), hooks.dropped()), (vec![1], 0, 1));
}
