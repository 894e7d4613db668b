//! Databases that fail when a test wants it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sagas::{
    store::Database,
    testing::faulty::{FaultyStore, StoreFault, StoreFaults},
    time::Clock,
};

/// The calls at which the tests of outages let the database fail, and how.
pub const OUTAGES: [(&str, StoreFault); 5] = [
    ("begin", StoreFault::Unavailable),
    ("claim", StoreFault::Unavailable),
    ("append_outbox", StoreFault::Unavailable),
    ("commit", StoreFault::Unavailable),
    ("commit", StoreFault::LoseAnswer),
];

/// Wraps `database`, for now without faults.
pub fn faulty(database: &Database) -> FaultyStore {
    FaultyStore::new(database, StoreFaults::default(), 1, Clock::system())
}

/// Returns `database` as a service can close it while the test keeps it open.
pub fn kept_open(database: &Database) -> Database {
    faulty(database).database()
}

/// Gives `fault` to the first `times` calls of `method`. Returns the number of calls so far.
pub fn fail_first(store: &FaultyStore, method: &'static str, fault: StoreFault, times: usize) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    store.script(move |call| (call.method == method && count.fetch_add(1, Ordering::SeqCst) < times).then(|| fault.clone()));
    calls
}

/// Lets calls of a delivery fail, each with a probability of `percent`, drawn from `draws`.
pub fn fail_at_random(store: &FaultyStore, mut draws: fastrand::Rng, percent: u8) {
    const CALLS: [&str; 13] = [
        "begin",
        "claim",
        "append_outbox",
        "commit",
        "seen",
        "outbox",
        "outbox_of",
        "parked_keys",
        "parked",
        "acquire_partitions",
        "advance",
        "check_ownership",
        "check",
    ];
    store.script(move |call| {
        let mut drawn = || draws.u8(0..100) < percent;
        match call.method {
            method if !CALLS.contains(&method) => None,
            "commit" if drawn() => Some(StoreFault::LoseAnswer),
            _ => drawn().then_some(StoreFault::Unavailable),
        }
    });
}
