//! The switches of the simulated gateway and providers.

use sagas_tests::Shop;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_shows_its_switches_and_takes_them_back() {
    let shop = Shop::open().await;
    let usual = shop.get("payment", "/gateway").await;
    assert!(usual.text.contains(r#""declineAbove":5000.00"#), "{}", usual.text);
    let usual = usual.is(200);
    assert_eq!(usual, json!({"declineRate": 0.0, "declineAbove": 5000.0, "latencyMs": 0, "outage": false}));
    let other = json!({"declineRate": 0.25, "declineAbove": null, "latencyMs": 600_000, "outage": true});
    assert_eq!(shop.put("payment", "/gateway", &other).await.is(200), other);
    assert_eq!(shop.get("payment", "/api/v1/gateway").await.is(200), other);
    assert_eq!(shop.put("payment", "/gateway", &usual).await.is(200), usual);

    for (field, value) in [
        ("declineRate", json!(1.01)),
        ("declineRate", json!(-0.01)),
        ("declineRate", json!("0.5")),
        ("declineAbove", json!(-1)),
        ("declineAbove", json!(0.001)),
        ("declineAbove", json!("10")),
        ("latencyMs", json!(600_001)),
        ("latencyMs", json!(-1)),
        ("latencyMs", json!(1.5)),
        ("outage", json!("yes")),
        ("colour", json!("red")),
    ] {
        let mut body = usual.clone();
        body[field] = value;
        let answer = shop.put("payment", "/gateway", &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        answer.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(answer.blamed(), [field], "{body}");
    }
    for body in [json!([]), json!([1.0]), json!(null), json!("outage"), json!(true)] {
        shop.put("payment", "/gateway", &body).await.is_problem(400, "VALIDATION_ERROR");
    }
    assert_eq!(shop.get("payment", "/gateway").await.is(200), usual, "what is refused changes nothing");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_providers_show_their_switches_and_take_them_back() {
    let shop = Shop::open().await;
    let usual = shop.get("notification", "/providers").await.is(200);
    let works = json!({"failureRate": 0.0, "outage": false});
    assert_eq!(usual, json!({"email": works, "sms": works}));
    let other = json!({"email": {"failureRate": 1.0, "outage": false}, "sms": {"failureRate": 0.5, "outage": true}});
    assert_eq!(shop.put("notification", "/providers", &other).await.is(200), other);
    assert_eq!(shop.get("notification", "/api/v1/providers").await.is(200), other);
    for (body, field) in [
        (json!({"email": {"failureRate": 1.5}}), "email.failureRate"),
        (json!({"sms": {"failureRate": -1}}), "sms.failureRate"),
        (json!({"sms": {"outage": 1}}), "sms.outage"),
        (json!({"email": {"colour": "red"}}), "email.colour"),
        (json!({"email": [1.0, true]}), "email"),
        (json!({"sms": null}), "sms"),
        (json!({"pigeon": {"outage": true}}), "pigeon"),
    ] {
        let answer = shop.put("notification", "/providers", &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        answer.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(answer.blamed(), [field], "{body}");
    }
    assert_eq!(shop.get("notification", "/providers").await.is(200), other, "what is refused changes nothing");
    shop.close().await;
}
