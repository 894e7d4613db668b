//! Every order of deliveries that the topics allow.
//!
//! A schedule is a list of choices: which queue delivers next, when the gateway answers, when the customer cancels or the
//! deadline passes. All schedules are executed depth first, each from the beginning. Two things are left out because they change
//! nothing: a record that its service does not handle is let through at once, and a service that waits for the gateway receives
//! no other record, which would only wait in its memory.
//!
//! Where there are too many schedules, they are reduced. Adjacent actions of two services touch neither the other's database nor
//! a topic that both write. Of the schedules that differ only in the order of such actions, one is executed (with sleep sets).
//! Every order of events that a service can see is still covered.

use std::{collections::BTreeMap, time::Duration};

use sagas::{Aborting, saga::InstanceState};

use crate::{
    gated::{Gated, Queue},
    shop::{
        books::Status,
        conduct::{Act, Point},
        inventory, payment,
    },
    stage::{Site, Stage},
};

const QUEUES: [Queue; 6] = [
    ("order", "stock"),
    ("order", "payments"),
    ("inventory", "orders"),
    ("inventory", "payments"),
    ("payment", "orders"),
    ("payment", "stock"),
];

/// A choice of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Deliver(Queue),
    Answer,
    /// The customer of the first order cancels.
    Cancel,
    /// The deadline passes.
    Overdue,
}

impl Choice {
    fn service(self) -> &'static str {
        match self {
            Self::Deliver((service, _)) => service,
            Self::Answer => "payment",
            Self::Cancel | Self::Overdue => "order",
        }
    }
}

const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// An order: quantity and amount.
#[derive(Clone, Copy)]
struct Order(u32, u32);

/// The orders and events to execute.
struct Play {
    stock: u32,
    orders: Vec<Order>,
    /// An external event that happens once, at any time.
    once: Option<Choice>,
}

/// The results of all schedules.
#[derive(Debug, Default)]
struct Tally {
    schedules: u32,
    /// Schedules that were cut off because they differ from an earlier one only in the order of different services' actions.
    redundant: u32,
    /// The number of schedules for each end: the answer to the cancel, and the end of each order.
    ends: BTreeMap<String, u32>,
}

struct Run<'p> {
    play: &'p Play,
    log: Gated,
    stage: Stage,
    once: Option<Choice>,
    /// The state of each order's instance at the last check.
    states: BTreeMap<u64, InstanceState>,
    /// The answer to the cancel.
    cancelled: Option<Aborting>,
}

impl<'p> Run<'p> {
    async fn begin(play: &'p Play) -> Self {
        let log = Gated::new(QUEUES);
        let site = Site::on(log.clone(), play.stock);
        site.shop.conduct.set(Point::Answer, Act::Knock);
        let stage = site.open().await;
        for (id, Order(quantity, amount)) in (1..).zip(&play.orders) {
            stage.place(id, *quantity, *amount).await;
        }
        Self { play, log, stage, once: play.once, states: BTreeMap::new(), cancelled: None }
    }

    async fn quiet(&self) {
        loop {
            tokio::select! {
                () = self.stage.pump.run_until_quiet() => return,
                () = self.stage.shop.conduct.knocked() => self.log.set_resting("payment", true),
            }
        }
    }

    /// Runs until nothing moves by itself, and returns the next possible choices.
    async fn choices(&mut self) -> Vec<Choice> {
        loop {
            self.quiet().await;
            self.check_progress().await;
            let (taken, passed): (Vec<_>, Vec<_>) =
                self.log.waiting().into_iter().partition(|((service, _), event)| match *service {
                    "inventory" => inventory::TAKES.contains(&event.as_str()),
                    "payment" => payment::TAKES.contains(&event.as_str()),
                    _ => true,
                });
            if passed.is_empty() {
                let asks = self.log.is_resting("payment");
                let open = taken.into_iter().filter(|((service, _), _)| !(asks && *service == "payment"));
                let mut choices: Vec<_> = open.map(|(queue, _)| Choice::Deliver(queue)).collect();
                choices.extend(asks.then_some(Choice::Answer));
                choices.extend(self.once);
                return choices;
            }
            passed.into_iter().for_each(|(queue, _)| self.log.pass(queue));
        }
    }

    /// Checks that no state has gone backwards since the last check.
    async fn check_progress(&mut self) {
        self.stage.books().check();
        for id in self.ids() {
            let state = self.stage.instance(id).await.state;
            let before = self.states.insert(id, state);
            assert!(before.is_none_or(|before| before <= state), "order {id} went back from {before:?} to {state:?}");
        }
    }

    fn ids(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.play.orders.len() as u64
    }

    async fn take(&mut self, choice: Choice) {
        if self.once == Some(choice) {
            self.once = None;
        }
        match choice {
            Choice::Deliver(queue) => self.log.pass(queue),
            Choice::Answer => {
                self.log.set_resting("payment", false);
                self.stage.shop.conduct.let_in(1);
            }
            Choice::Cancel => self.cancelled = Some(self.stage.cancel(1).await),
            Choice::Overdue => self.stage.pump.clock().advance(DEADLINE),
        }
    }

    /// Checks the end of a schedule: each order has ended, in every service.
    async fn check_end(&self) -> String {
        let mut end = format!("{:?}", self.cancelled);
        for id in self.ids() {
            self.stage.books().check_ended(id);
            let instance = self.stage.instance(id).await;
            assert!(instance.ended_at.is_some() && instance.expected_next.is_empty(), "{instance:?}");
            assert_eq!((instance.not_allowed, &instance.attention), (0, &None), "{instance:?}");
            let status = self.stage.books().status(id).unwrap();
            let state = if status == Status::Confirmed { InstanceState::Completed } else { InstanceState::Aborted };
            assert_eq!(instance.state, state);
            let charge = self.stage.books().charged(id).map_or("nothing".to_owned(), |charge| format!("{charge:?}"));
            end.push_str(&format!(", {status:?} {state:?} {charge}"));
        }
        assert_eq!(self.stage.dead_letters().await, 0);
        end
    }
}

/// A choice of the current schedule.
struct Node {
    choices: Vec<Choice>,
    /// The index of the current choice; those before it are explored.
    taken: usize,
    /// Choices that need not be explored here: they were explored before an independent choice.
    asleep: Vec<Choice>,
}

impl Node {
    /// Moves to the next choice from `at` that must be explored; false when there is none.
    fn wake(&mut self, at: usize) -> bool {
        let next = (at..self.choices.len()).find(|at| !self.asleep.contains(&self.choices[*at]));
        self.taken = next.unwrap_or(self.taken);
        next.is_some()
    }

    /// Returns the choices that need not be explored after the current one.
    fn asleep_below(&self, reduced: bool) -> Vec<Choice> {
        let before = self.asleep.iter().chain(&self.choices[..self.taken]);
        before.filter(|choice| reduced && choice.service() != self.choices[self.taken].service()).copied().collect()
    }
}

/// Executes every schedule of `play`. With `reduced`, executes one of the schedules that differ only in the order of different
/// services' actions.
async fn explore(play: Play, reduced: bool) -> Tally {
    let (mut tally, mut path) = (Tally::default(), Vec::<Node>::new());
    loop {
        let mut run = Run::begin(&play).await;
        for node in &path {
            assert_eq!(run.choices().await, node.choices, "what was played before has come to something else");
            run.take(node.choices[node.taken]).await;
        }
        let redundant = loop {
            let choices = run.choices().await;
            if choices.is_empty() {
                break false;
            }
            let asleep = path.last().map(|node| node.asleep_below(reduced)).unwrap_or_default();
            let mut node = Node { choices, taken: 0, asleep };
            if !node.wake(0) {
                break true;
            }
            run.take(node.choices[node.taken]).await;
            path.push(node);
        };
        if redundant {
            tally.redundant += 1;
        } else {
            tally.schedules += 1;
            *tally.ends.entry(run.check_end().await).or_default() += 1;
        }
        while let Some(node) = path.last_mut() {
            let next = node.taken + 1;
            if node.wake(next) {
                break;
            }
            path.pop();
        }
        if path.is_empty() {
            return tally;
        }
    }
}

const BOUGHT: Order = Order(2, 30);
const TOO_MANY: Order = Order(20, 30);
const TOO_DEAR: Order = Order(2, 3_000);
/// More than is left after one purchase.
const THE_REST: Order = Order(9, 30);

/// Executes every schedule of `orders`, with `once` at every point.
async fn all(orders: &[Order], once: Option<Choice>) -> Tally {
    explore(Play { stock: 10, orders: orders.to_vec(), once }, false).await
}

/// Like [`all`], reduced.
async fn one_of_each(orders: &[Order], once: Option<Choice>) -> Tally {
    explore(Play { stock: 10, orders: orders.to_vec(), once }, true).await
}

impl Tally {
    /// Checks that exactly these ends occurred, in at least this many schedules.
    fn came_to(&self, schedules: u32, ends: &[&str]) {
        assert_eq!(self.ends.keys().collect::<Vec<_>>(), ends, "{self:?}");
        assert!(self.schedules >= schedules, "{self:?}");
    }
}

#[tokio::test]
async fn what_is_bought_is_confirmed_in_every_schedule() {
    all(&[BOUGHT], None).await.came_to(4, &["None, Confirmed Completed Taken(30)"]);
}

#[tokio::test]
async fn what_cannot_be_reserved_is_cancelled_in_every_schedule() {
    all(&[TOO_MANY], None).await.came_to(2, &["None, Cancelled Aborted nothing"]);
}

#[tokio::test]
async fn what_is_not_paid_is_given_back_and_cancelled_in_every_schedule() {
    all(&[TOO_DEAR], None).await.came_to(40, &["None, Cancelled Aborted Declined"]);
}

#[tokio::test]
async fn the_reduction_leaves_no_end_out() {
    for (orders, once) in [(&[BOUGHT], None), (&[TOO_DEAR], None), (&[TOO_MANY], Some(Choice::Cancel))] {
        let (all, reduced) = (all(orders, once).await, one_of_each(orders, once).await);
        assert!(reduced.schedules < all.schedules, "{reduced:?} {all:?}");
        assert_eq!(reduced.ends.keys().collect::<Vec<_>>(), all.ends.keys().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_cancel_at_any_point_leads_to_one_of_two_outcomes() {
    let refunded = "Some(Now), Cancelled Aborted Refunded(30)";
    let (untouched, late) = ("Some(Now), Cancelled Aborted nothing", "Some(TooLate), Confirmed Completed Taken(30)");
    one_of_each(&[BOUGHT], Some(Choice::Cancel)).await.came_to(14, &[refunded, untouched, late]);
}

#[tokio::test]
async fn a_cancel_of_an_order_that_is_refused_changes_nothing() {
    let tally = all(&[TOO_MANY], Some(Choice::Cancel)).await;
    tally.came_to(20, &["Some(Before), Cancelled Aborted nothing", "Some(Now), Cancelled Aborted nothing"]);
    let ends = [
        "Some(Before), Cancelled Aborted Declined",
        "Some(Now), Cancelled Aborted Declined",
        "Some(Now), Cancelled Aborted nothing",
    ];
    one_of_each(&[TOO_DEAR], Some(Choice::Cancel)).await.came_to(20, &ends);
}

#[tokio::test]
async fn a_deadline_at_any_point_leads_to_one_of_two_outcomes() {
    let (refunded, untouched) = ("None, Cancelled Aborted Refunded(30)", "None, Cancelled Aborted nothing");
    let ends = [refunded, untouched, "None, Confirmed Completed Taken(30)"];
    one_of_each(&[BOUGHT], Some(Choice::Overdue)).await.came_to(14, &ends);
    one_of_each(&[TOO_MANY], Some(Choice::Overdue)).await.came_to(2, &[untouched]);
    let tally = one_of_each(&[TOO_DEAR], Some(Choice::Overdue)).await;
    tally.came_to(20, &["None, Cancelled Aborted Declined", untouched]);
}

#[tokio::test]
async fn two_orders_at_once_come_to_what_each_comes_to() {
    let (bought, declined) = ("Confirmed Completed Taken(30)", "Cancelled Aborted Declined");
    one_of_each(&[BOUGHT, BOUGHT], None).await.came_to(6, &[&format!("None, {bought}, {bought}")]);
    one_of_each(&[BOUGHT, TOO_DEAR], None).await.came_to(10, &[&format!("None, {bought}, {declined}")]);
    one_of_each(&[TOO_DEAR, BOUGHT], None).await.came_to(30, &[&format!("None, {declined}, {bought}")]);
    one_of_each(&[BOUGHT, THE_REST], None).await.came_to(4, &[&format!("None, {bought}, Cancelled Aborted nothing")]);
}

#[tokio::test]
async fn a_cancel_of_one_order_leaves_the_other_alone() {
    let ends = [
        "Some(Now), Cancelled Aborted Refunded(30), Confirmed Completed Taken(30)",
        "Some(Now), Cancelled Aborted nothing, Confirmed Completed Taken(30)",
        "Some(TooLate), Confirmed Completed Taken(30), Confirmed Completed Taken(30)",
    ];
    one_of_each(&[BOUGHT, BOUGHT], Some(Choice::Cancel)).await.came_to(90, &ends);
}
