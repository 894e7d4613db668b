use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream, stream::BoxStream};

use super::{FaultyStore, StoreFault, StoreFaults, StoreOperation};
use crate::{
    id::MessageId,
    message::{Record, Shards},
    store::{
        Backlog, Database, InboxKey, InstanceKey, Ownership, PeerNotification, Share, Sharing, Store, StoreError,
        memory::MemoryStore,
    },
    testing::{conformance::store::Subject, record},
    time::{Clock, Timestamp},
};

fn faulty(faults: StoreFaults) -> FaultyStore {
    FaultyStore::new(&Database::memory(), faults, 1, Clock::system())
}

fn row(key: &str) -> [Record; 1] {
    [record("orders", key, &[], "{}")]
}

async fn rows(store: &dyn Store) -> usize {
    store.outbox("payment", 0, 10).await.expect("no fault").len()
}

/// Commits a row with this key.
async fn append(store: &dyn Store, key: &str) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.append_outbox("payment", &row(key)).await?;
    tx.commit().await
}

mod without_faults {
    use super::*;

    async fn open() -> Subject {
        Subject::new(Arc::new(FaultyStore::new(
            &Database::new(Arc::new(MemoryStore::default())),
            StoreFaults::default(),
            1,
            Clock::system(),
        )))
    }

    crate::store_conformance!(open);
}

/// Each probability fails its own calls and no others.
#[tokio::test]
async fn a_probability_fails_the_calls_of_its_kind() {
    let none = StoreFaults::default();
    for (faults, failing) in [
        (StoreFaults { fail_begin: 1.0, ..none.clone() }, &["begin"][..]),
        (StoreFaults { fail_statement: 1.0, ..none.clone() }, &["statement"]),
        (StoreFaults { fail_commit: 1.0, ..none.clone() }, &["commit"]),
        (StoreFaults { lose_answer: 1.0, ..none.clone() }, &["commit"]),
        (StoreFaults { fail_read: 1.0, ..none.clone() }, &["read", "read of a saga"]),
        (StoreFaults { fail_write: 1.0, ..none.clone() }, &["write", "write of a replay"]),
        (StoreFaults { fail_check: 1.0, ..none.clone() }, &["check"]),
    ] {
        let faulty = faulty(none.clone());
        let store = faulty.database().store().clone();
        let mut tx = store.begin().await.expect("no fault");
        faulty.set(faults.clone());
        let instance = InstanceKey { saga: "deal".into(), id: "1".into() };
        let replay = crate::store::ReplayId::new("r");
        let answers = [
            ("statement", tx.claim("payment", &[], Timestamp::from_millis(0)).await.map(drop)),
            ("commit", tx.commit().await),
            ("begin", store.begin().await.map(drop)),
            ("read", store.parked_keys("payment").await.map(drop)),
            ("read of a saga", store.sagas().instance("payment", &instance).await.map(drop)),
            ("write", store.advance("payment", &[] as &[Ownership]).await.map(drop)),
            ("write of a replay", store.replays().stop("payment", &replay, Timestamp::from_millis(0)).await.map(drop)),
            ("check", store.check().await),
        ];
        let failed: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_err()).map(|(call, _)| *call).collect();
        assert_eq!(failed, failing, "{faults:?}");
    }
}

#[tokio::test]
async fn a_failed_commit_commits_nothing_and_a_lost_answer_hides_what_was_committed() {
    let none = StoreFaults::default();
    for (faults, expected) in
        [(StoreFaults { fail_commit: 1.0, ..none.clone() }, 0), (StoreFaults { lose_answer: 1.0, ..none.clone() }, 1)]
    {
        let store = faulty(faults);
        let answer = append(&store, "a").await;
        assert!(matches!(&answer, Err(StoreError::Unavailable(reason)) if reason.contains("commit")), "{answer:?}");
        assert_eq!(rows(&store).await, expected);
    }
}

async fn pattern(seed: u64) -> Vec<bool> {
    let faults = StoreFaults { fail_begin: 0.5, ..StoreFaults::default() };
    let store = FaultyStore::new(&Database::memory(), faults, seed, Clock::system());
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(store.begin().await.is_ok());
    }
    answers
}

#[tokio::test]
async fn a_seed_repeats_its_faults() {
    assert_eq!(pattern(7).await, pattern(7).await);
    assert_ne!(pattern(7).await, pattern(8).await);
    let failed = pattern(7).await.iter().filter(|ok| !**ok).count();
    assert!((8..32).contains(&failed), "{failed} of 40 at a probability of one half");
}

#[tokio::test]
async fn a_script_sees_the_call_and_comes_before_the_probabilities() {
    let store = faulty(StoreFaults { fail_statement: 1.0, ..StoreFaults::default() });
    store.script(|call| {
        (call.method == "claim" && call.is_about("m-1")).then(|| StoreFault::Error(StoreError::Refused("a trigger".into())))
    });
    let key = |id: &str| [InboxKey { source: "shop".into(), id: MessageId::new(id) }];
    let mut tx = store.begin().await.expect("no fault");
    let scripted = tx.claim("payment", &key("m-1"), Timestamp::from_millis(0)).await;
    assert!(matches!(&scripted, Err(StoreError::Refused(reason)) if reason == "a trigger"), "{scripted:?}");
    let drawn = tx.claim("payment", &key("m-2"), Timestamp::from_millis(0)).await;
    assert!(matches!(drawn, Err(StoreError::Unavailable(_))), "{drawn:?}");
    drop(tx);
    store.clear();
    let mut tx = store.begin().await.expect("no fault");
    assert_eq!(
        tx.claim("payment", &key("m-1"), Timestamp::from_millis(0)).await.expect("no fault"),
        [true],
        "the failed claims left nothing"
    );
}

#[tokio::test]
async fn a_script_is_told_what_each_call_does() {
    let store = faulty(StoreFaults::default());
    let calls = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    store.script(move |call| {
        seen.lock().expect("no fault").push((call.operation, call.method, call.ids.clone()));
        None
    });
    append(&store, "a").await.expect("no fault");
    let _ = store.database().store().parked("payment", "orders", b"k", 1).await;
    let none = Vec::<String>::new;
    assert_eq!(
        *calls.lock().expect("no fault"),
        [
            (StoreOperation::Begin, "begin", none()),
            (StoreOperation::Statement, "append_outbox", vec!["a".to_owned()]),
            (StoreOperation::Commit, "commit", none()),
            (StoreOperation::Read, "parked", vec!["k".to_owned()]),
        ]
    );
}

#[tokio::test]
async fn any_call_can_lose_its_answer() {
    let store = faulty(StoreFaults::default());
    store.script(|call| (call.method == "append_outbox").then_some(StoreFault::LoseAnswer));
    let mut tx = store.begin().await.expect("no fault");
    assert!(tx.append_outbox("payment", &row("a")).await.is_err());
    tx.commit().await.expect("no fault");
    assert_eq!(rows(&store).await, 1);
}

#[tokio::test]
#[should_panic(expected = "a panic that the test asked for: begin")]
async fn a_script_makes_a_call_panic() {
    let store = faulty(StoreFaults::default());
    store.script(|call| (call.operation == StoreOperation::Begin).then_some(StoreFault::Panic));
    let _ = store.begin().await;
}

#[tokio::test]
async fn a_delay_is_before_the_call_or_before_its_answer() {
    for (fault, before) in [(StoreFault::Delay(Duration::from_secs(1)), 0), (StoreFault::DelayAnswer(Duration::from_secs(1)), 1)]
    {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let database = Database::memory();
        let store = FaultyStore::new(&database, StoreFaults::default(), 1, clock.clone());
        store.script(move |call| (call.operation == StoreOperation::Commit).then(|| fault.clone()));
        let mut appended = Box::pin(append(&store, "a"));
        assert!(futures_util::poll!(&mut appended).is_pending(), "it is not time yet");
        assert_eq!(rows(&**database.store()).await, before);
        clock.advance(Duration::from_secs(1));
        appended.await.expect("no fault");
        assert_eq!(rows(&**database.store()).await, 1);
    }
}

#[tokio::test]
async fn a_refused_key_is_not_committed_until_it_is_taken() {
    let store = faulty(StoreFaults::default());
    store.refuse("bad");
    assert!(append(&store, "bad").await.is_err());
    append(&store, "good").await.expect("no fault");
    store.check().await.expect("no fault");
    assert_eq!(rows(&store).await, 1);
    store.take("bad");
    append(&store, "bad").await.expect("no fault");
    assert_eq!(rows(&store).await, 2);
}

#[tokio::test]
async fn closing_leaves_the_inner_store_open() {
    let database = Database::memory();
    let store = FaultyStore::new(&database, StoreFaults::default(), 1, Clock::system());
    store.database().store().close().await;
    append(&store, "a").await.expect("no fault");
    assert_eq!(rows(&**database.store()).await, 1);
}

/// A sharing of which only the notifications are used.
struct Notifications(tokio::sync::broadcast::Sender<PeerNotification>);

#[async_trait]
impl Sharing for Notifications {
    async fn acquire_leases(&self, _: &str, _: &str, _: Duration, _: Shards) -> Result<Share, StoreError> {
        Ok(Share::default())
    }

    async fn leave(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn notify(&self, _: &str, news: PeerNotification) -> Result<(), StoreError> {
        let _ = self.0.send(news);
        Ok(())
    }

    async fn listen(&self, _: &str) -> Result<BoxStream<'static, Result<PeerNotification, StoreError>>, StoreError> {
        let next = async |mut news: tokio::sync::broadcast::Receiver<_>| news.recv().await.ok().map(|next| (Ok(next), news));
        Ok(stream::unfold(self.0.subscribe(), next).boxed())
    }

    async fn backlog(&self, _: &str, _: u64) -> Result<Backlog, StoreError> {
        Ok(Backlog::default())
    }
}

#[tokio::test]
async fn a_database_of_one_process_stays_one() {
    assert!(faulty(StoreFaults::default()).database().store().sharing().is_none());
}

#[tokio::test]
async fn notifications_get_lost_and_listening_fails() {
    let faulty = faulty(StoreFaults::default()).with_sharing(Arc::new(Notifications(tokio::sync::broadcast::Sender::new(8))));
    let store = faulty.database().store().clone();
    let sharing = store.sharing().expect("no fault");
    let mut news = sharing.listen("payment").await.expect("no fault");

    faulty.set(StoreFaults { lose_notification: 1.0, ..StoreFaults::default() });
    sharing.notify("payment", PeerNotification::SharesChanged).await.expect("no fault");
    assert!(futures_util::poll!(news.next()).is_pending(), "it is lost");

    faulty.clear();
    sharing.notify("payment", PeerNotification::SharesChanged).await.expect("no fault");
    assert_eq!(news.next().await.expect("no fault").expect("no fault"), PeerNotification::SharesChanged);

    faulty.set(StoreFaults { fail_listen: 1.0, fail_share: 1.0, ..StoreFaults::default() });
    assert!(sharing.listen("payment").await.is_err());
    assert!(sharing.acquire_leases("payment", "p", Duration::from_secs(1), Shards::default()).await.is_err());
    sharing.notify("payment", PeerNotification::SharesChanged).await.expect("no fault");
    assert!(news.next().await.expect("no fault").is_err());
    assert!(news.next().await.is_none(), "the stream has ended");
}
