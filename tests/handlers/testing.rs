//! `docs/guide/testing.md`. The assertions of its own examples are in their doctests.

mod alone {
    shown!("testing", "flag");

    #[tokio::test]
    async fn only_what_is_dear_is_flagged() {
        for (total, flagged) in [(1_000, false), (1_001, true)] {
            assert_eq!(flag(On(OrderCreated { order_id: "a".into(), total })).await.is_some(), flagged, "{total}");
        }
    }
}

mod with_a_database {
    shown!("testing", "reserve");

    #[tokio::test]
    async fn a_second_attempt_says_nothing_of_low_stock() {
        let database = testing::database(MIGRATIONS).await;
        testing::execute(&database, "INSERT INTO stock (left_over) VALUES (5)").await;
        let order = OrderCreated { order_id: "a".into(), quantity: 3 };
        let mut meta = testing::meta(&order);
        meta.attempt = 2;
        let (tx, open) = testing::tx(&database).await.unwrap();
        reserve(On(order), tx, meta).await.unwrap();
        assert!(open.commit().await.unwrap().is_empty());
    }
}

mod together {
    shown!("testing", "charge");

    #[tokio::test]
    async fn the_second_attempt_works() {
        let order = OrderCreated { order_id: "a".into() };
        let mut meta = sagas::testing::meta(&order);
        assert!(matches!(charge(On(order.clone()), meta.clone()).await, Err(Failure::Retry(_))));
        meta.attempt = 2;
        assert_eq!(charge(On(order), meta).await.unwrap(), PaymentProcessed { order_id: "a".into() });
    }
}

mod with_faults {
    shown!("testing", "take_payment");

    #[tokio::test]
    async fn an_order_is_paid() {
        let paid = take_payment(On(OrderCreated { order_id: "a".into() })).await;
        assert_eq!(paid, PaymentProcessed { order_id: "a".into() });
    }
}
