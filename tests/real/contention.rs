//! More is wanted than there is, of two inventories that share the stock.

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
    let warm_up = both_take_part(&mut fleet).await;
    let site = fleet.site();
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

/// Orders what is sold out until each inventory has been asked at some time; how many orders that took. The assignment of a group counts
/// partitions, and not what is in them: one member may have those of `orders`, and the other those of a topic in which nothing is. So where
/// one has had nothing for a while, the second comes and goes once more, and they are shared out anew.
async fn both_take_part(fleet: &mut Fleet) -> usize {
    /// An order of [`Fate::OutOfStock`], by its number.
    const SOLD_OUT: usize = 1;
    /// Orders, after which the second comes and goes.
    const PATIENT: usize = 100;
    let second = fleet.members.len() - 1;
    let mut asked = [false; 2];
    for orders in 1..=20 * PATIENT {
        place(fleet.site(), SOLD_OUT + 5 * orders).await;
        for (asked, inventory) in asked.iter_mut().zip(&fleet.sites) {
            *asked |= handled(inventory).await > 0.0;
        }
        if asked == [true; 2] {
            return orders;
        }
        if orders % PATIENT == 0 {
            fleet.stop(second, PATIENCE).await;
            fleet.launch(second);
            fleet.all_serve().await;
        }
    }
    panic!("one of two inventories is never asked: {asked:?}");
}

async fn handled(inventory: &Site) -> f64 {
    oracle::counted(inventory, Service::Inventory, "sagas_deliveries_total", "").await
}

/// Places an order, asking again under the same key while the service is busy.
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
