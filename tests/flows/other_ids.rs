//! An event of an order arrives again with another event id, as from a producer that has lost its state.

use sagas::message::{Header, Record};
use sagas_tests::Shop;

/// Returns `record` with another event id.
fn under_another_id(shop: &Shop, record: &Record) -> Record {
    let mut record = record.clone();
    record.headers.retain(|header| header.name != "ce_id");
    record.headers.push(Header::text("ce_id", shop.fresh_id()));
    record
}

async fn comes_again(product: &str, quantity: u32, price: f64, end: &str, topic: &str, number: usize) {
    let shop = Shop::open().await;
    let order_id = shop.place("ada", product, quantity, price).await;
    let before = shop.order_is(&order_id, end).await;
    shop.quiet().await;
    let (history, stock) = (shop.history(&order_id).await, shop.stock(product).await);
    let (told, payments) = (shop.notifications(&order_id).await, shop.list("payment", "/payments").await);
    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);

    // More stock than the first time: what was refused then would be available now.
    let restock = serde_json::json!({"quantity": 1000});
    shop.post("inventory", &format!("/products/{product}/restock"), &restock).await.is(200);
    let record = shop.records_of(topic, &order_id).await[number].clone();
    shop.publish(under_another_id(&shop, &record)).await;
    shop.quiet().await;

    assert_eq!(shop.order(&order_id).await, before);
    assert_eq!(shop.history(&order_id).await, history);
    assert_eq!(shop.stock(product).await, (stock.0 + 1000, stock.1, stock.2));
    assert_eq!(shop.notifications(&order_id).await, told);
    assert_eq!(shop.list("payment", "/payments").await, payments);
    let after = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!(
        (&after["orders"], &after["revenue"], &after["topProducts"]),
        (&metrics["orders"], &metrics["revenue"], &metrics["topProducts"])
    );
    for service in sagas_tests::SERVICES {
        assert_eq!(shop.count(service, "/dead-letters").await, 0, "{service}");
    }
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_order_created_of_a_completed_order_has_no_effect() {
    comes_again("tea", 2, 9.9, "COMPLETED", "orders", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_order_created_of_an_order_that_was_refused_has_no_effect() {
    comes_again("last-one", 2, 99.0, "CANCELLED", "orders", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_inventory_reserved_of_a_completed_order_has_no_effect() {
    comes_again("tea", 2, 9.9, "COMPLETED", "inventory", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_inventory_reserved_of_an_order_that_was_declined_has_no_effect() {
    comes_again("coffee", 500, 14.5, "CANCELLED", "inventory", 0).await;
}
