//! `docs/guide/sagas.md`.

mod flow {
    shown!("sagas", "reserve");

    fn order(quantity: i64) -> On<OrderCreated> {
        On(OrderCreated { order_id: "a".into(), quantity, total: 50 })
    }

    fn held(total: i64) -> On<InventoryReserved> {
        On(InventoryReserved { order_id: "a".into(), total })
    }

    #[tokio::test]
    async fn steps_are_done_or_refused() {
        assert_eq!(reserve(order(10)).await.unwrap().total, 50);
        assert!(matches!(reserve(order(11)).await, Err(Failure::Reject(InventoryInsufficient { .. }))));
        assert_eq!(charge(held(50)).await.unwrap().order_id, "a");
        assert!(matches!(charge(held(100)).await, Err(Failure::Later(_))));
        assert!(matches!(charge(held(1_000)).await, Err(Failure::Reject(PaymentFailed { .. }))));
        assert_eq!(confirm(On(PaymentProcessed { order_id: "a".into() })).await.order_id, "a");
    }

    #[tokio::test]
    async fn what_was_done_is_undone_and_the_flow_is_given_up() {
        assert_eq!(release(Undo(InventoryReserved { order_id: "a".into(), total: 50 })).await.order_id, "a");
        assert_eq!(refund(Undo(PaymentProcessed { order_id: "a".into() })).await.order_id, "a");
        let refusal = Refusal::Goods(InventoryInsufficient { order_id: "a".into() });
        assert_eq!(cancel(On(refusal)).await.order_id, "a");
        let deadline = Deadline::new("a", ::sagas::time::Timestamp::from_millis(0), ::sagas::saga::Cause::Saga);
        assert_eq!(expire(On(deadline)).await.order_id, "a");
    }
}

mod calling_out {
    shown!("sagas", "refund");

    use ecommerce::contracts::{Money, OrderId, PaymentId, PaymentMethod};

    #[tokio::test]
    async fn what_was_taken_is_given_back_and_what_nobody_knows_of_says_nothing() {
        let order_id: OrderId = "0190a5f0-7c3e-7000-8000-000000000001".parse().unwrap();
        let payment_id: PaymentId = "0190a5f0-7c3e-7000-8000-000000000002".parse().unwrap();
        let paid = PaymentProcessed { order_id, payment_id, amount: Money::eur(1_980), payment_method: PaymentMethod::Paypal };
        for known in [true, false] {
            let (work, open) = ::sagas::testing::work(&Database::memory());
            let refunded = refund(Undo(known.then(|| paid.clone())), work, ::sagas::testing::meta(&paid)).await.unwrap();
            assert_eq!(refunded.map(|event| event.amount), known.then_some(paid.amount));
            open.commit().await.unwrap();
        }
    }
}
