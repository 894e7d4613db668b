//! `docs/guide/foreign-producers.md`.

shown!("foreign-producers", "received");

#[tokio::test]
async fn a_payment_is_entered() {
    let payment = PaymentReceived { account: "anna".into(), amount_cents: 5 };
    assert_eq!(received(On(payment)).await, Entered { account: "anna".into(), cents: 5 });
}

#[tokio::test]
async fn only_transfers_are_entered() {
    let record = |kind: &str, value: &str| On(testing::record("transfers", "ben", &[("kind", kind)], value).into());
    let entered = transferred(record("transfer", r#"{"account":"ben","cents":-5}"#)).await.unwrap();
    assert_eq!(entered, Some(Entered { account: "ben".into(), cents: -5 }));
    assert_eq!(transferred(record("audit", "no JSON")).await.unwrap(), None);
    let Err(Failure::Dead(fault)) = transferred(record("transfer", "no JSON")).await else { panic!("it cannot be read") };
    assert!(fault.to_string().contains("the value is no"), "{fault}");
}
