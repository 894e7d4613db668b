use readme::inventory::*;
use sagas::{prelude::*, testing::Pump};

#[tokio::test]
async fn goods_are_reserved_while_there_are_any() {
    let database = Database::open("sqlite::memory:").await.unwrap();
    let pump = Pump::of([inventory(database)]).start().await;
    for order_id in ["a", "b"] {
        pump.publish(&OrderCreated { order_id: order_id.into(), product: "tea".into(), quantity: 2 }).await;
    }
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<InventoryReserved>().await.len(), 1);
    assert_eq!(pump.published::<InventoryInsufficient>().await.len(), 1);
}
