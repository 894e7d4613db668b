//! `examples/hello.rs`, which `src/lib.rs` includes.

shown!("examples/hello", "sell");

use sagas::testing;

#[tokio::test]
async fn what_is_ordered_is_sold() {
    let database = testing::database(TABLES).await;
    for quantity in [2, 3] {
        let (tx, open) = testing::tx(&database).await.unwrap();
        sell(On(OrderPlaced { order_id: "a".into(), product: "tea".into(), quantity }), tx).await.unwrap();
        assert!(open.commit().await.unwrap().is_empty());
    }
    let sold: i64 = sqlx::query_scalar("SELECT quantity FROM sold WHERE product = 'tea'").fetch_one(&database).await.unwrap();
    assert_eq!(sold, 5);
}
