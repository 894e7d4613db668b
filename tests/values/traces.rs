//! W3C Trace Context from outside: in a request, and in a foreign record.

use reqwest::Method;
use sagas_tests::{Answer, Shop, TOPICS, event_type, header};
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Returns the traces and states of all events of the order.
async fn traces(shop: &Shop, order_id: &str) -> Vec<(String, String, Option<String>)> {
    let mut all = Vec::new();
    for topic in TOPICS {
        for record in shop.records_of(topic, order_id).await {
            let trace = header(&record, "traceparent").split('-').nth(1).unwrap().to_owned();
            all.push((event_type(&record).to_owned(), trace, record.header("tracestate").map(str::to_owned)));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_a_request_goes_through_every_event() {
    let shop = Shop::open().await;
    let order = json!({"customerId": "ada", "items": [{"productId": "tea", "quantity": 1, "unitPrice": 9.9}]});
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = shop.request(Method::POST, "order", "/orders").header("traceparent", &parent).header("tracestate", "a=1");
    let placed = Answer::to(request.header("tracestate", "b=2").json(&order)).await.is(202);
    let order_id = placed["orderId"].as_str().unwrap();
    shop.order_is(order_id, "COMPLETED").await;
    shop.quiet().await;
    let all = traces(&shop, order_id).await;
    assert!(all.len() >= 6, "{all:?}");
    for (event, trace, state) in all {
        assert_eq!((trace.as_str(), state.as_deref()), (TRACE, Some("a=1,b=2")), "{event}");
    }
    // Another request about the same order belongs to another trace.
    let shipped = format!("00-{}-00f067aa0ba902b7-01", "a".repeat(32));
    let request = shop.request(Method::POST, "order", &format!("/orders/{order_id}/ship")).header("traceparent", &shipped);
    Answer::to(request.json(&json!({"trackingNumber": "T"}))).await.is(202);
    shop.quiet().await;
    let all = traces(&shop, order_id).await;
    assert!(all.contains(&("OrderShipped".to_owned(), "a".repeat(32), None)), "{all:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_trace_that_is_not_valid_begins_one() {
    let shop = Shop::open().await;
    let order = json!({"customerId": "ada", "items": [{"productId": "tea", "quantity": 1, "unitPrice": 9.9}]});
    for parent in [
        format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{TRACE}-00f067aa0ba902b-01"),
        format!("00-{TRACE}--01"),
        format!("ff-{TRACE}-00f067aa0ba902b7-01"),
        format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
    ] {
        let request = shop.request(Method::POST, "order", "/orders").header("traceparent", &parent).header("tracestate", "a=1");
        let placed = Answer::to(request.json(&order)).await.is(202);
        let order_id = placed["orderId"].as_str().unwrap();
        shop.order_is(order_id, "COMPLETED").await;
        for (event, trace, state) in traces(&shop, order_id).await {
            assert!(trace != TRACE && trace != TRACE.to_uppercase() && trace != "0".repeat(32), "{parent}: {event} {trace}");
            assert_eq!(state, None, "{parent}: {event}");
        }
    }
    shop.close().await;
}
