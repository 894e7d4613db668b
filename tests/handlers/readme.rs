//! `README.md`. The tests that it shows run here too.

mod begin {
    shown!("readme", "sell");

    #[tokio::test]
    async fn what_is_ordered_is_sold_and_nothing_of_it_when_it_is_undone() {
        let database = sagas::testing::database(TABLES).await;
        let order = OrderPlaced { order_id: "a".into(), product: "tea".into(), quantity: 2 };
        for committed in [true, false] {
            let (tx, open) = sagas::testing::tx(&database).await.unwrap();
            sell(On(order.clone()), tx).await.unwrap();
            if committed {
                open.commit().await.unwrap();
            }
        }
        let sold: i64 = sqlx::query_scalar("SELECT quantity FROM sold").fetch_one(&database).await.unwrap();
        assert_eq!(sold, 2);
    }
}

mod tour {
    shown!("readme", "reserve");
}
