//! Arbitrary bodies, queries and headers of a request: it is answered with a status below 500.

use proptest::{collection::vec, prelude::*, sample::select, strategy::ValueTree};
use reqwest::Method;
use sagas_tests::{Answer, Shop};
use serde_json::{Value, json};

use crate::{
    budget::{cases, runner},
    records,
};

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[\u{0}-\u{9f}é茶]{0,6}".prop_map(Value::from),
        select(vec!["ada", "tea", "PAYPAL", "9.99"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let names = select(vec!["customerId", "items", "productId", "quantity", "unitPrice", "reason", "name", "price", "x"]);
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((names, inner), 0..5)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let item =
        (any::<Value3>(), prop_oneof![Just(json!(1)), any::<u64>().prop_map(Value::from), any::<f64>().prop_map(Value::from)]);
    let order = item.prop_map(|(Value3(id), number)| {
        json!({"customerId": id, "items": [{"productId": "tea", "quantity": number, "unitPrice": number}]})
    });
    prop_oneof![
        3 => json().prop_map(|value| value.to_string().into_bytes()),
        3 => order.prop_map(|value| value.to_string().into_bytes()),
        1 => records::bytes(),
        1 => (100_usize..400).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

/// A short arbitrary text.
#[derive(Debug, Clone)]
struct Value3(String);

impl Arbitrary for Value3 {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        "[a-c\u{0}\u{7f}\u{9b}é]{0,4}".prop_map(Self).boxed()
    }
}

const CALLS: &[(&str, &str, &str)] = &[
    ("POST", "order", "/orders"),
    ("POST", "order", "/orders/{id}/cancel"),
    ("POST", "order", "/orders/{id}/ship"),
    ("GET", "order", "/orders/{id}"),
    ("GET", "order", "/orders/{id}/events"),
    ("GET", "order", "/orders?customerId={id}&status={id}"),
    ("GET", "order", "/orders?page={id}&size={id}"),
    ("GET", "order", "/sagas?saga={id}&state={id}"),
    ("GET", "order", "/sagas/PlaceOrder/{id}"),
    ("GET", "order", "/sagas/{id}/{id}"),
    ("POST", "order", "/sagas/PlaceOrder/{id}/compensate"),
    ("POST", "order", "/sagas/PlaceOrder/{id}/retry"),
    ("POST", "inventory", "/products"),
    ("POST", "inventory", "/products/{id}/restock"),
    ("GET", "inventory", "/products/{id}"),
    ("GET", "inventory", "/reservations?orderId={id}"),
    ("GET", "payment", "/payments?orderId={id}"),
    ("GET", "notification", "/notifications?customerId={id}"),
    ("GET", "analytics", "/dead-letters/{id}"),
    ("POST", "analytics", "/dead-letters/{id}/retry"),
    ("POST", "analytics", "/dead-letters/{id}/discard"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_is_answered_below_500() {
    let shop = Shop::open().await;
    let headers = vec((select(vec!["x-correlation-id", "traceparent", "tracestate", "idempotency-key"]), records::bytes()), 0..3);
    let strategy = (select(CALLS), prop_oneof![Just("%00".to_owned()), "[a%é]{0,8}".prop_map(String::from)], bodies(), headers);
    let mut runner = runner();
    for _ in 0..cases(400).cases {
        let ((method, service, path), id, body, headers) = strategy.new_tree(&mut runner).unwrap().current();
        let id: String = if id == "%00" { id } else { id.bytes().map(|byte| format!("%{byte:02X}")).collect() };
        let method: Method = method.parse().unwrap();
        let mut request =
            shop.request(method.clone(), service, &path.replace("{id}", &id)).header("content-type", "application/json");
        for (name, value) in headers {
            if let Ok(value) = reqwest::header::HeaderValue::from_bytes(&value) {
                request = request.header(name, value);
            }
        }
        if method == Method::POST {
            request = request.body(body.clone());
        }
        let answer = Answer::to(request).await;
        let told = String::from_utf8_lossy(&body);
        assert!(answer.status < 500, "{method} {service} {path} {id} {told}: {} {}", answer.status, answer.text);
    }
    let order_id = shop.place("bob", "tea", 1, 9.9).await;
    shop.order_is(&order_id, "COMPLETED").await;
    shop.close().await;
}
