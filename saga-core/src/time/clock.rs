//! The clock: reads the time and waits for points in time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{Timestamp, steady::Anchor};

/// A clock that the framework reads and waits on: the system's clock, or one that a test moves.
///
/// A running service derives its own clock from the one that its app was given. That clock follows the monotonic clock of the machine from
/// an anchor on, so it never goes back and does not jump when the system's clock is set. The anchor is the clock of the service's database
/// where processes share one, otherwise the system's clock at the start.
///
/// ```
/// # use saga_core::time::{Clock, Timestamp};
/// # use std::time::Duration;
/// let clock = Clock::manual(Timestamp::from_millis(0));
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), Timestamp::from_millis(60_000));
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Wall(Wall),
    Steady(Arc<Steady>),
    Manual(Arc<Mutex<watch::Sender<Timestamp>>>),
}

/// The system's clock, with an offset in milliseconds that tests set.
#[derive(Clone, Debug, Default)]
struct Wall {
    wrong_by: Arc<AtomicI64>,
}

/// A clock that follows the monotonic clock.
#[derive(Debug)]
struct Steady {
    wall: Wall,
    anchor: Mutex<(Instant, Anchor)>,
}

impl Wall {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Timestamp::from_millis(millis.saturating_add(self.wrong_by.load(Ordering::SeqCst)))
    }
}

impl Steady {
    fn new(wall: &Wall) -> Self {
        Self { wall: wall.clone(), anchor: Mutex::new((Instant::now(), Anchor::at(wall.now()))) }
    }

    fn now(&self) -> Timestamp {
        let anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        anchor.1.after(anchor.0.elapsed())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// Creates the system's clock.
    pub fn system() -> Self {
        Self(Source::Wall(Wall::default()))
    }

    /// Creates the system's clock, `millis` milliseconds ahead (behind, if negative), for tests of machines with different clocks.
    ///
    /// [`Clock::set_wrong_by`] changes the offset later.
    pub fn wrong_by(millis: i64) -> Self {
        let clock = Self::system();
        clock.set_wrong_by(millis);
        clock
    }

    /// Creates a clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(watch::Sender::new(start)))))
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Wall(wall) => wall.now(),
            Source::Steady(steady) => steady.now(),
            Source::Manual(now) => *now.lock().unwrap_or_else(PoisonError::into_inner).borrow(),
        }
    }

    /// Waits until the time is `at`.
    ///
    /// A manual clock reaches it when a test advances it that far. With the system's clock, the duration of the wait is determined when it
    /// begins: setting the clock during the wait does not make it longer.
    pub async fn sleep_until(&self, at: Timestamp) {
        match &self.0 {
            Source::Wall(wall) => tokio::time::sleep(at.since(wall.now())).await,
            Source::Steady(steady) => loop {
                // The clock may have been slowed down during the sleep. Sleep for the rest too, so that `now` is never before `at`
                // afterwards.
                match at.since(steady.now()) {
                    Duration::ZERO => return,
                    left => tokio::time::sleep(left).await,
                }
            },
            Source::Manual(now) => {
                let mut now = now.lock().unwrap_or_else(PoisonError::into_inner).subscribe();
                // The sender lives as long as any clone of the clock, and `self` is one.
                let _ = now.wait_for(|now| *now >= at).await;
            }
        }
    }

    /// Waits for `period`.
    pub async fn sleep(&self, period: Duration) {
        match &self.0 {
            Source::Wall(_) | Source::Steady(_) => tokio::time::sleep(period).await,
            Source::Manual(_) => self.sleep_until(self.now().after(period)).await,
        }
    }

    /// Moves a manual clock forward and wakes the tasks that wait for a time it has reached. Has no effect on other clocks.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.lock().unwrap_or_else(PoisonError::into_inner).send_modify(|now| *now = now.after(by));
        }
    }

    /// Sets how many milliseconds the system's clock is ahead (behind, if negative), as [`Clock::wrong_by`] does.
    ///
    /// Clocks derived from this one see the change as a jump of the machine's clock. Has no effect on a manual clock.
    pub fn set_wrong_by(&self, millis: i64) {
        match &self.0 {
            Source::Wall(wall) => wall.wrong_by.store(millis, Ordering::SeqCst),
            Source::Steady(steady) => steady.wall.wrong_by.store(millis, Ordering::SeqCst),
            Source::Manual(_) => {}
        }
    }

    /// Returns a clock that starts at the time of this one and follows the monotonic clock from then on. A manual clock is returned as it
    /// is.
    pub(crate) fn steady(&self) -> Self {
        Self(match &self.0 {
            Source::Wall(wall) => Source::Steady(Arc::new(Steady::new(wall))),
            Source::Steady(steady) => Source::Steady(Arc::new(Steady::new(&steady.wall))),
            Source::Manual(now) => Source::Manual(now.clone()),
        })
    }

    /// Returns the time of the wall clock that a steady clock was derived from; `None` for other clocks.
    pub(crate) fn wall(&self) -> Option<Timestamp> {
        match &self.0 {
            Source::Steady(steady) => Some(steady.wall.now()),
            _ => None,
        }
    }

    /// Sets a steady clock to `now`. Must be called before the clock is read for the first time, because it can move it back.
    pub(crate) fn anchor(&self, now: Timestamp) {
        if let Source::Steady(steady) = &self.0 {
            *steady.anchor.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Anchor::at(now));
        }
    }

    /// Lets a steady clock approach `target`, the present by the clock that it follows, which is known to within `error`. It approaches
    /// slowly and never goes backwards.
    pub(crate) fn follow(&self, target: Timestamp, error: Duration) {
        if let Source::Steady(steady) = &self.0 {
            let mut anchor = steady.anchor.lock().unwrap_or_else(PoisonError::into_inner);
            let at = Instant::now();
            *anchor = (at, anchor.1.following(at - anchor.0, target, error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_the_wall_clock_moves_no_wait() {
        for jump in [HOUR, -HOUR, 30 * 24 * HOUR] {
            let wall = Clock::system();
            let clock = wall.steady();
            let (began, due) = (Instant::now(), clock.now().after(Duration::from_secs(10)));
            let waiting = clock.clone();
            let wait = tokio::spawn(async move { waiting.sleep_until(due).await });
            tokio::time::sleep(Duration::from_secs(5)).await;
            wall.set_wrong_by(jump);
            assert_eq!(clock.wall().map(|wall| (wall.as_millis() - clock.now().as_millis() - jump).abs() < 10_000), Some(true));
            clock.follow(wall.now(), Duration::ZERO);
            assert!(due.since(clock.now()) > Duration::from_secs(4), "a jump by {jump} ms brought the time near");
            wait.await.expect("the wait ends");
            let took = began.elapsed();
            assert!((9_900..10_200).contains(&took.as_millis()), "a jump by {jump} ms: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clocks_of_two_processes_agree_once_they_have_one_anchor() {
        let [one, other] = [Clock::wrong_by(0).steady(), Clock::wrong_by(5 * 60_000).steady()];
        assert!(other.now().since(one.now()) > Duration::from_secs(299));
        let shared = Timestamp::from_millis(1_700_000_000_000);
        one.anchor(shared);
        other.anchor(shared);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(one.now(), other.now());
        assert_eq!(one.now(), shared.after(Duration::from_secs(3_600)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_clock_never_goes_back() {
        let clock = Clock::system().steady();
        let mut last = clock.now();
        for step in 0..200_u64 {
            let target =
                if step % 3 == 0 { last.before(Duration::from_secs(900)) } else { last.after(Duration::from_millis(step)) };
            clock.follow(target, Duration::from_millis(step % 5));
            tokio::time::sleep(Duration::from_millis(step % 7)).await;
            let now = clock.now();
            assert!(now >= last, "{step}: {now} after {last}");
            last = now;
        }
    }
}
