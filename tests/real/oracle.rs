//! The checks after a test, whatever was killed, frozen or restarted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sagas_tests::{
    TOPICS,
    process::{
        Acknowledged, Customers, Fate, Service, Site, all_events, all_have_ended, eventually, every_order_ended_as_it_should,
        fates, the_sums_are_right,
    },
};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::{
    fleet::Fleet,
    servers::Servers,
    topics::{Published, published},
};

/// Checks that every acknowledged order ends as expected, stock and money are conserved, no work is left, nothing was done twice,
/// and the events of each key are in their topic in the order in which they were published.
pub async fn all_is_well(servers: &Servers, fleet: &Fleet, orders: &Acknowledged, patience: Duration) {
    let site = fleet.site();
    all_have_ended(site, patience).await;
    every_order_ended_as_it_should(site, orders).await;
    the_sums_are_right(site, orders, patience).await;
    for member in fleet.members.iter().filter(|member| member.is_up()) {
        for service in &member.services {
            nothing_is_left(&fleet.sites[member.site], *service, patience).await;
        }
    }
    everybody_was_charged_once(&servers.database().await, orders).await;
    let records = published(servers.bootstrap().await, &TOPICS).await;
    the_topics_tell_each_story_once(&records, orders);
    let events = site.get(Service::Analytics, "/analytics/events").await.unwrap();
    let mut by_type = BTreeMap::<_, BTreeSet<_>>::new();
    for record in &records {
        by_type.entry(record.name.as_str()).or_default().insert(&record.id);
    }
    for (name, ids) in by_type {
        assert_eq!(events[name], ids.len(), "{name} events that the analytics service has counted: {events}");
    }
}

/// Checks that no event waits to be sent, no message is parked, and there is no dead letter.
async fn nothing_is_left(site: &Site, service: Service, patience: Duration) {
    eventually(patience, "nothing is left", async || {
        let health = site.get(service, "/health").await?;
        let left = [("outbox", "rows"), ("parkedKeys", "messages"), ("deadLetters", "open")];
        let all_done = left.iter().all(|(check, value)| health["checks"][check][value] == 0);
        (all_done && health["status"] == "UP").then_some(()).ok_or_else(|| format!("{service:?}: {health}"))
    })
    .await;
}

/// Checks that the gateway, an external system with its own storage, was called once for each order that got that far.
async fn everybody_was_charged_once(database: &str, orders: &Acknowledged) {
    let [completed, _, declined] = fates(orders).map(|count| i64::try_from(count).unwrap());
    let mut db = PgConnection::connect(database).await.unwrap();
    let counts = "SELECT COUNT(*), COUNT(DISTINCT order_id), COUNT(*) FILTER (WHERE declined IS NULL) FROM gateway_charges";
    let counts: (i64, i64, i64) = sqlx::query_as(counts).fetch_one(&mut db).await.unwrap();
    assert_eq!(counts, (completed + declined, completed + declined, completed), "charges, orders charged, charges taken");
}

/// Checks the events of an order in a topic, in order. A crash can store a record in the log twice with the same id: only its
/// first position counts.
fn the_topics_tell_each_story_once(records: &[Published], orders: &Acknowledged) {
    let (mut told, mut places) = (BTreeMap::<_, Vec<&str>>::new(), BTreeMap::new());
    let (mut ids, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        let place = (record.topic, record.key.as_str());
        let partition = *places.entry(place).or_insert(record.partition);
        assert_eq!(partition, record.partition, "{record:?} has left the partition of its key");
        if ids.insert(&record.id) {
            told.entry(place).or_default().push(&record.name);
            let said = (record.key.as_str(), record.name.as_str(), record.value["kind"].as_str());
            assert!(kinds.insert(said), "{said:?} was published as two events");
        }
    }
    println!("{} records, {} of them a second time", records.len(), records.len() - ids.len());
    for (number, order_id) in orders {
        for (topic, expected) in story(Fate::of(*number)) {
            let told = told.get(&(topic, order_id.as_str())).map_or(&[][..], Vec::as_slice);
            assert_eq!(told, expected, "order {number} on {topic}");
        }
    }
    assert_eq!(ids.len(), all_events(orders), "events in all topics");
}

/// Returns the events of an order with this fate, by topic. Notifications have no order, because they are caused by several
/// topics.
fn story(fate: Fate) -> [(&'static str, &'static [&'static str]); 3] {
    match fate {
        Fate::Completes => [
            ("orders", &["OrderCreated", "OrderConfirmed"]),
            ("inventory", &["InventoryReserved"]),
            ("payments", &["PaymentProcessed"]),
        ],
        Fate::OutOfStock => {
            [("orders", &["OrderCreated", "OrderCancelled"]), ("inventory", &["InventoryInsufficient"]), ("payments", &[])]
        }
        Fate::Declined => [
            ("orders", &["OrderCreated", "OrderCancelled"]),
            ("inventory", &["InventoryReserved", "InventoryReleased"]),
            ("payments", &["PaymentFailed"]),
        ],
    }
}

/// Returns the sum of the service's counter over the series whose labels contain `label`, such as `outcome="duplicate"`.
pub async fn counted(site: &Site, service: Service, counter: &str, label: &str) -> f64 {
    let response = site.http.get(site.url(service, "/metrics")).send().await.unwrap();
    let text = response.text().await.unwrap();
    let of_it = text.lines().filter(|line| line.starts_with(counter) && line.contains(label));
    of_it.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Waits until every service of a site reports that it is ready (`UP`), or not (`DOWN`).
pub async fn all_say(site: &Site, status: &str, patience: Duration) {
    for service in Service::ALL {
        eventually(patience, &format!("{} says {status}", service.name()), async || {
            let health = readiness(site, service).await?;
            (health["status"] == status).then_some(()).ok_or_else(|| health.to_string())
        })
        .await;
    }
}

async fn readiness(site: &Site, service: Service) -> Result<Value, String> {
    let url = site.url(service, "/health/ready");
    let response = site.http.get(&url).send().await.map_err(|error| format!("GET {url}: {error}"))?;
    response.json().await.map_err(|error| format!("GET {url}: {error}"))
}

/// Measures how long an order that is placed now takes to end.
pub async fn time_to_serve(site: &Site, customers: &mut Customers, patience: Duration) -> Duration {
    let began = Instant::now();
    let before = customers.placed();
    customers.allow(1);
    customers.have_placed(before + 1, patience).await;
    all_have_ended(site, patience).await;
    began.elapsed()
}
