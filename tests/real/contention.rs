//! More units are ordered than are available, from two inventory processes that share the stock.

use futures_util::{StreamExt, stream};
use sagas_tests::process::{Service, Site, all_have_ended, eventually, place};
use serde_json::json;

use super::{PATIENCE, fleet::Fleet, oracle, servers::Servers};

const ORDERS: usize = 200;
const UNITS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn two_inventories_sell_exactly_what_there_is() {
    let servers = Servers::start().await;
    let split = Service::ALL.map(|service| (0, vec![service]));
    let mut fleet = Fleet::of(&servers, split.into_iter().chain([(1, vec![Service::Inventory])])).await;
    fleet.start_all().await;
    let site = fleet.site();
    let warm_up = both_take_part(&fleet.sites).await;
    stream::iter(0..ORDERS).for_each_concurrent(16, async |number| order(site, number).await).await;
    all_have_ended(site, PATIENCE).await;

    let ended = async |status: &str| site.count_of(Service::Order, "/orders", &format!("status={status}")).await.unwrap();
    assert_eq!((ended("COMPLETED").await, ended("CANCELLED").await), (UNITS, ORDERS - UNITS + warm_up));
    eventually(PATIENCE, "all units are sold", async || {
        let teapot = site.get(Service::Inventory, "/products/teapot").await?;
        let units = ["available", "reserved", "sold"].map(|name| teapot[name].as_u64());
        (units == [Some(0), Some(0), Some(UNITS as u64)]).then_some(()).ok_or_else(|| teapot.to_string())
    })
    .await;
    assert_eq!(site.count(Service::Inventory, "/reservations").await.unwrap(), UNITS);
    assert_eq!(site.count(Service::Payment, "/payments").await.unwrap(), UNITS);
    eventually(PATIENCE, "every customer is told twice", async || {
        let told = site.count(Service::Notification, "/notifications").await?;
        (told == 2 * (ORDERS + warm_up)).then_some(()).ok_or_else(|| told.to_string())
    })
    .await;
    let report = site.get(Service::Order, "/check").await.unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
    for inventory in &fleet.sites {
        println!("the inventory at {} has handled {} messages", inventory.url(Service::Inventory, ""), handled(inventory).await);
    }
}

/// Orders a sold-out product until both inventory processes have handled an order; returns how many orders that took.
async fn both_take_part(sites: &[Site]) -> usize {
    /// The number of an order of [`Fate::OutOfStock`].
    const SOLD_OUT: usize = 1;
    let mut orders = 0;
    eventually(PATIENCE, "both inventories take part", async || {
        place(&sites[0], SOLD_OUT + 5 * orders).await;
        orders += 1;
        let (first, second) = (handled(&sites[0]).await, handled(&sites[1]).await);
        (first > 0.0 && second > 0.0).then_some(()).ok_or_else(|| format!("{orders} orders, {first} and {second} messages"))
    })
    .await;
    orders
}

async fn handled(inventory: &Site) -> f64 {
    oracle::counted(inventory, Service::Inventory, "sagas_deliveries_total", "").await
}

/// Places an order, and repeats it with the same key while the service is overloaded.
async fn order(site: &Site, number: usize) {
    let item = json!({"productId": "teapot", "quantity": 1, "unitPrice": 49.0});
    let order = json!({"customerId": format!("customer-{number}"), "items": [item]});
    eventually(PATIENCE, "the order is taken", async || {
        let request = site.http.post(site.url(Service::Order, "/orders")).header("Idempotency-Key", format!("teapot-{number}"));
        let response = request.json(&order).send().await.map_err(|error| error.to_string())?;
        let (status, answer) = (response.status().as_u16(), response.text().await.map_err(|error| error.to_string())?);
        assert!([202, 503].contains(&status), "{status} {answer}");
        (status == 202).then_some(()).ok_or(answer)
    })
    .await;
}
