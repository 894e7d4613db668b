//! `docs/guide/first-service.md`.

shown!("first-service", "reserve");

#[tokio::test]
async fn goods_are_set_aside_while_there_are_any() {
    let database = sagas::testing::database(SCHEMA).await;
    let order = |order_id: &str| OrderCreated { order_id: order_id.into(), product: "tea".into(), quantity: 2 };

    let (tx, open) = sagas::testing::tx(&database).await.unwrap();
    assert_eq!(reserve(On(order("a")), tx).await.unwrap(), InventoryReserved { order_id: "a".into() });
    open.commit().await.unwrap();

    let (tx, _undone) = sagas::testing::tx(&database).await.unwrap();
    let Err(Failure::Reject(refusal)) = reserve(On(order("b")), tx).await else { panic!("there is one left") };
    assert_eq!(refusal, InventoryInsufficient { order_id: "b".into() });
}

#[tokio::test]
async fn an_error_of_the_database_is_worth_another_attempt() {
    let database = sagas::testing::database(&[]).await;
    let (tx, _undone) = sagas::testing::tx(&database).await.unwrap();
    let order = OrderCreated { order_id: "a".into(), product: "tea".into(), quantity: 2 };
    let Err(Failure::Retry(fault)) = reserve(On(order), tx).await else { panic!("there is no table") };
    assert!(fault.to_string().contains("no such table: stock"), "{fault}");
}
