//! Checks after customers have placed orders: every acknowledged order has ended as expected, and the sums are correct.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    customer::{Acknowledged, Fate, wanted},
    program::eventually,
    site::{Service, Site},
};

/// Waits until no order is in flight.
///
/// # Panics
/// Panics when an order still is after `patience`.
pub async fn all_have_ended(site: &Site, patience: Duration) {
    eventually(patience, "every order ends", async || {
        let report = site.get(Service::Order, "/check").await?;
        (report["inFlight"] == 0).then_some(()).ok_or_else(|| report.to_string())
    })
    .await;
}

/// Checks that exactly these orders exist, each with its history once.
///
/// # Panics
/// Panics when they do not.
pub async fn every_order_ended_as_it_should(site: &Site, orders: &Acknowledged) {
    let there = site.count(Service::Order, "/orders").await.unwrap();
    assert_eq!(there, orders.len(), "orders in the shop, whatever was asked twice");
    for (number, order_id) in orders {
        let events = site.get(Service::Order, &format!("/orders/{order_id}/events")).await.unwrap();
        let mut types: Vec<_> = events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
        let fate = Fate::of(*number);
        let last = if fate == Fate::Completes { "OrderConfirmed" } else { "OrderCancelled" };
        let ends = (types.first().copied(), types.last().copied());
        assert_eq!(ends, (Some("OrderCreated"), Some(last)), "order {number} ({fate:?}): {types:?}");
        let all = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), all, "order {number} took an event in twice: {events:#}");
        assert_eq!(site.status(order_id).await.unwrap(), fate.status(), "order {number} ({fate:?})");
    }
}

/// Returns how many of the orders complete, are out of stock, and are declined.
pub fn fates(orders: &Acknowledged) -> [usize; 3] {
    [Fate::Completes, Fate::OutOfStock, Fate::Declined]
        .map(|fate| orders.keys().filter(|number| Fate::of(**number) == fate).count())
}

/// Returns the number of events of all orders, with their notifications.
pub fn all_events(orders: &Acknowledged) -> usize {
    let [completed, out_of_stock, declined] = fates(orders);
    6 * completed + 5 * out_of_stock + 6 * declined
}

/// Waits until every service has handled every event, then checks that no unit, cent or event is missing or counted twice.
///
/// # Panics
/// Panics when a sum is wrong, or when the services need longer than `patience`.
pub async fn the_sums_are_right(site: &Site, orders: &Acknowledged, patience: Duration) {
    let [completed, out_of_stock, declined] = fates(orders);
    // The effects of an order's end: the sale, the notifications, the analytics.
    let notifications = 2 * completed + 2 * out_of_stock + declined;
    eventually(patience, "everybody has heard of every order", async || {
        let sent = site.count(Service::Notification, "/notifications").await?;
        let counted = site.get(Service::Analytics, "/analytics/metrics").await?["orders"].clone();
        let products = site.get(Service::Inventory, "/products").await?;
        let reserved: i64 = products.as_array().unwrap().iter().map(|product| product["reserved"].as_i64().unwrap()).sum();
        let (all, cancelled) = (orders.len(), out_of_stock + declined);
        let expected = json!({"created": all, "completed": completed, "cancelled": cancelled, "inFlight": 0});
        let events = site.get(Service::Analytics, "/analytics/events").await?;
        let heard: u64 = events.as_object().unwrap().values().map(|total| total.as_u64().unwrap()).sum();
        let all_heard = heard >= u64::try_from(all_events(orders)).unwrap();
        let as_expected = sent == notifications && counted == expected && reserved == 0 && all_heard;
        as_expected
            .then_some(())
            .ok_or_else(|| format!("{sent} of {notifications} notifications, {reserved} reserved, {counted}, {events}"))
    })
    .await;

    let report = site.get(Service::Order, "/check").await.unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(report["confirmed"], completed, "{report:#}");
    assert_eq!(report["cancelled"], out_of_stock + declined, "{report:#}");
    assert_eq!(site.count(Service::Payment, "/payments").await.unwrap(), completed + declined);
    for product in site.get(Service::Inventory, "/products").await.unwrap().as_array().unwrap() {
        the_stock_is_right(product, orders);
    }
}

fn the_stock_is_right(product: &Value, orders: &Acknowledged) {
    let bought = orders.keys().filter(|number| Fate::of(**number) == Fate::Completes).map(|number| wanted(*number));
    let sold: u32 = bought.filter(|(name, _)| product["productId"] == *name).map(|(_, quantity)| quantity).sum();
    let at_first = match product["productId"].as_str().unwrap() {
        "tea" | "coffee" => 1_000,
        "mug" => 500,
        "teapot" => 50,
        "last-one" => 1,
        "sold-out" => 0,
        other => panic!("nobody sells {other}"),
    };
    let counted = ["available", "reserved", "sold"].map(|units| product[units].as_u64().unwrap());
    assert_eq!(counted, [at_first - u64::from(sold), 0, u64::from(sold)], "{product}");
}
