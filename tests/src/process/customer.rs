//! Customers that place orders through failures: they repeat a request with the same `Idempotency-Key` until it is answered 202.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::site::{Service, Site};

/// The expected end of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The goods are available, and the payment is accepted.
    Completes,
    /// The product is out of stock.
    OutOfStock,
    /// The payment is declined, because the amount is too high.
    Declined,
}

impl Fate {
    /// Returns the fate of the order with this number: of five, three complete.
    pub fn of(number: usize) -> Self {
        match number % 5 {
            1 => Self::OutOfStock,
            3 => Self::Declined,
            _ => Self::Completes,
        }
    }

    /// Returns the final status.
    pub fn status(self) -> &'static str {
        match self {
            Self::Completes => "COMPLETED",
            Self::OutOfStock | Self::Declined => "CANCELLED",
        }
    }
}

/// Returns the product and quantity of the order with this number.
pub fn wanted(number: usize) -> (&'static str, u32) {
    match Fate::of(number) {
        Fate::Completes => (["tea", "coffee", "mug"][number % 3], 1 + u32::try_from(number % 2).unwrap()),
        Fate::OutOfStock => ("sold-out", 1),
        Fate::Declined => ("coffee", 2),
    }
}

fn order(number: usize) -> Value {
    let (product, quantity) = wanted(number);
    let price = if Fate::of(number) == Fate::Declined { 2500.01 } else { 9.90 };
    let item = json!({"productId": product, "quantity": quantity, "unitPrice": price});
    json!({"customerId": format!("customer-{}", number % 17), "items": [item], "paymentMethod": "CREDIT_CARD"})
}

/// Orders that were answered 202: number and id.
pub type Acknowledged = BTreeMap<usize, String>;

/// Customers that run in parallel. They place as many orders as they are [allowed](Self::allow), numbered from 0.
pub struct Customers {
    allowance: Arc<Semaphore>,
    acknowledged: watch::Receiver<Acknowledged>,
    tasks: JoinSet<()>,
}

impl Customers {
    /// Starts `how_many` customers, which go on to the next site when one does not answer.
    pub fn of(sites: &[Site], how_many: usize) -> Self {
        let allowance = Arc::new(Semaphore::new(0));
        let next = Arc::new(AtomicUsize::new(0));
        let (acknowledge, acknowledged) = watch::channel(Acknowledged::new());
        let mut tasks = JoinSet::new();
        for _ in 0..how_many {
            let (sites, allowance, next, acknowledge) = (sites.to_vec(), allowance.clone(), next.clone(), acknowledge.clone());
            tasks.spawn(async move {
                while let Ok(permit) = allowance.acquire().await {
                    permit.forget();
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let order_id = place_somewhere(&sites, number).await;
                    acknowledge.send_modify(|all| drop(all.insert(number, order_id)));
                }
            });
        }
        Self { allowance, acknowledged, tasks }
    }

    /// Allows them to place `more` further orders.
    pub fn allow(&self, more: usize) {
        self.allowance.add_permits(more);
    }

    /// Returns the number of acknowledged orders.
    pub fn placed(&self) -> usize {
        self.acknowledged.borrow().len()
    }

    /// Waits until `count` orders have been acknowledged.
    ///
    /// # Panics
    /// Panics when they are not within `limit`.
    pub async fn have_placed(&mut self, count: usize, limit: Duration) {
        let placed = timeout(limit, self.acknowledged.wait_for(|all| all.len() >= count)).await.map(drop);
        assert!(placed.is_ok(), "{} of {count} orders were acknowledged within {limit:?}", self.placed());
    }

    /// Stops the customers, and returns the acknowledged orders.
    pub async fn leave(mut self) -> Acknowledged {
        self.tasks.shutdown().await;
        self.acknowledged.borrow().clone()
    }
}

/// Places an order, repeating the request until it is answered 202.
///
/// # Panics
/// Panics on any answer other than 202 and 503.
pub async fn place(site: &Site, number: usize) -> String {
    place_somewhere(std::slice::from_ref(site), number).await
}

/// Sends the request to one site after another.
async fn place_somewhere(sites: &[Site], number: usize) -> String {
    for site in sites.iter().cycle().skip(number % sites.len()) {
        if let Some(order_id) = ask(site, number).await {
            return order_id;
        }
        sleep(Duration::from_millis(20)).await;
    }
    unreachable!("the sites come round again and again")
}

async fn ask(site: &Site, number: usize) -> Option<String> {
    let request = site.http.post(site.url(Service::Order, "/orders")).header("Idempotency-Key", format!("order-{number}"));
    let response = request.json(&order(number)).send().await.ok()?;
    let status = response.status().as_u16();
    // When the connection breaks before the whole answer has arrived, the result is unknown.
    let body: Value = response.json().await.ok()?;
    match status {
        202 => Some(body["orderId"].as_str().unwrap().to_owned()),
        503 => None,
        _ => panic!("order {number} was answered {status}: {body}"),
    }
}
