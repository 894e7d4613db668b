//! Every order of deliveries that the topics allow.
//!
//! A schedule is a list of choices: which queue delivers next, when the gateway answers, when the customer cancels or the
//! deadline passes. All of them are played, depth first, each from the beginning. Two things are left out, as they change
//! nothing: a record that its service does not take is let through at once, and a service that waits for the gateway is delivered
//! nothing meanwhile, which would wait in its memory.
//!
//! Where that is too many, schedules are reduced: what two services do next to each other touches neither the other's database
//! nor a topic that both write, so that of the schedules that differ only in the order of such neighbours one is played (by sleep
//! sets). What a service sees, and in which order, is all there.

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

/// What can happen next.
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

/// What is played.
struct Play {
    stock: u32,
    orders: Vec<Order>,
    /// What comes at some time from outside, once.
    once: Option<Choice>,
}

/// What came of all schedules.
#[derive(Debug, Default)]
struct Tally {
    schedules: u32,
    /// Schedules that were left, as they differ from one before only in the order of what different services do.
    redundant: u32,
    /// How often it came to what: what the cancel was answered, and how each order ended.
    ends: BTreeMap<String, u32>,
}

struct Run<'p> {
    play: &'p Play,
    log: Gated,
    stage: Stage,
    once: Option<Choice>,
    /// How far each order's instance was when it was looked at last.
    states: BTreeMap<u64, InstanceState>,
    /// What the cancel was answered.
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

    /// Runs until nothing moves by itself, and says what can happen next.
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

    /// Nothing has gone back since it was looked at last.
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

    /// Everything has come: each order has ended, here and everywhere.
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

/// A choice that was made in the schedule that is played.
struct Node {
    choices: Vec<Choice>,
    /// Which of them is taken now; those before it have been.
    taken: usize,
    /// What need not be taken here: it was, before something that does not touch it.
    asleep: Vec<Choice>,
}

impl Node {
    /// Moves on to the next choice that has to be taken, from `at`; false when there is none.
    fn wake(&mut self, at: usize) -> bool {
        let next = (at..self.choices.len()).find(|at| !self.asleep.contains(&self.choices[*at]));
        self.taken = next.unwrap_or(self.taken);
        next.is_some()
    }

    /// What need not be taken after the choice that is.
    fn asleep_below(&self, reduced: bool) -> Vec<Choice> {
        let before = self.asleep.iter().chain(&self.choices[..self.taken]);
        before.filter(|choice| reduced && choice.service() != self.choices[self.taken].service()).copied().collect()
    }
}

/// Plays every schedule of `play`; `reduced`: of those that differ only in the order of what different services do, one.
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
/// More than is left when something was bought.
const THE_REST: Order = Order(9, 30);

/// Every schedule of `orders`, with `once` at every point.
async fn all(orders: &[Order], once: Option<Choice>) -> Tally {
    explore(Play { stock: 10, orders: orders.to_vec(), once }, false).await
}

/// As [`all`], reduced.
async fn one_of_each(orders: &[Order], once: Option<Choice>) -> Tally {
    explore(Play { stock: 10, orders: orders.to_vec(), once }, true).await
}

impl Tally {
    /// That it came to these ends, each at least once, in so many schedules or more.
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
