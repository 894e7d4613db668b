//! `docs/guide/handlers.md`.

use sagas::testing;

mod several_types {
    shown!("handlers", "count");

    #[tokio::test]
    async fn each_variant_is_taken() {
        let confirmed = OrderConfirmed { id: "a".into() };
        let meta = super::testing::meta(&confirmed);
        count(On(Ended::Confirmed(confirmed)), meta.clone()).await;
        count(On(Ended::Cancelled(OrderCancelled { id: "b".into() })), meta).await;
    }
}

mod calling_out {
    shown!("handlers", "notify");

    fn confirmed() -> OrderConfirmed {
        OrderConfirmed { order_id: "a".into() }
    }

    #[tokio::test]
    async fn the_transaction_is_begun_after_the_call() {
        let (work, open) = super::testing::work(&Database::memory());
        notify(On(confirmed()), super::testing::meta(&confirmed()), work).await.unwrap();
        assert!(open.commit().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_says_why() {
        let (tx, open) = super::testing::tx(&Database::memory()).await.unwrap();
        let mut meta = super::testing::meta(&confirmed());
        meta.last_error = Some("the provider is away".into());
        let failed = give_up(On(confirmed()), meta, tx).await;
        assert_eq!((&*failed.order_id, &*failed.error), ("a", "the provider is away"));
        open.commit().await.unwrap();
    }
}

mod as_it_is {
    shown!("handlers", "transferred");

    fn record(kind: &str, value: Option<&'static str>) -> On<Raw> {
        let mut record = super::testing::record("bank.transfers", "anna", &[("kind", kind)], value.unwrap_or_default());
        record.value = value.map(Into::into);
        On(record.into())
    }

    #[tokio::test]
    async fn a_header_says_what_a_record_is() {
        transferred(record("transfer", Some(r#"{"account":"anna","cents":-50}"#))).await.unwrap();
        transferred(record("audit", Some("no JSON"))).await.unwrap();
        for value in [Some("no JSON"), None] {
            assert!(matches!(transferred(record("transfer", value)).await, Err(Failure::Dead(_))), "{value:?}");
        }
    }
}

mod after_the_commit {
    shown!("handlers", "project");

    #[tokio::test]
    async fn readers_are_woken_by_the_commit() {
        let readers = Arc::new(Notify::new());
        for committed in [true, false] {
            let mut woken = std::pin::pin!(readers.notified());
            woken.as_mut().enable();
            let (tx, open) = super::testing::tx(&Database::memory()).await.unwrap();
            project(On(OrderConfirmed { order_id: "a".into() }), tx, State(readers.clone())).await.unwrap();
            if committed {
                open.commit().await.unwrap();
            } else {
                drop(open);
            }
            // It is decided at once: the second poll shows whether it is ready.
            assert_eq!(woken.as_mut().enable(), committed);
        }
    }
}
