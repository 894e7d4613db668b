//! `docs/guide/splitting-a-saga.md`.

shown!("splitting-a-saga", "charge");

use self::cards::{charge, refund};

#[tokio::test]
async fn a_card_is_charged_up_to_its_limit_and_refunded() {
    let held = |price| On(RoomHeld { trip_id: "1".into(), price });
    let charged = charge(held(1_000)).await.unwrap();
    assert!(matches!(charge(held(1_001)).await, Err(Failure::Reject(CardDeclined { .. }))));
    assert_eq!(refund(Undo(charged)).await, CardRefunded { trip_id: "1".into(), price: 1_000 });
}
