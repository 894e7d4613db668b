//! Orders that cannot be placed: each answer states what is wrong, and nothing is stored.

use reqwest::Method;
use sagas_tests::{Answer, Shop, TOPICS};

/// Returns an order with `item` in place of its only item.
fn with_item(item: &str) -> String {
    format!(r#"{{"customerId": "ada", "items": [{item}]}}"#)
}

/// Returns an order with one field of its only item replaced.
fn item_with(field: &str, value: &str) -> String {
    let fields = [("productId", r#""tea""#), ("quantity", "1"), ("unitPrice", "9.90")];
    let fields = fields.map(|(name, usual)| format!(r#""{name}": {}"#, if name == field { value } else { usual }));
    with_item(&format!("{{{}}}", fields.join(", ")))
}

/// Returns an order with `more` after its other fields.
fn and(more: &str) -> String {
    format!(r#"{{"customerId": "ada", "items": [{{"productId": "tea", "quantity": 1, "unitPrice": 9.90}}], {more}}}"#)
}

/// Returns an order with `count` items.
fn items(count: usize) -> String {
    with_item(&vec![r#"{"productId": "tea", "quantity": 1, "unitPrice": 0.01}"#; count].join(","))
}

/// Returns an order of this customer.
fn of(customer: &str) -> String {
    item_with("", "").replace(r#""ada""#, customer)
}

async fn place(shop: &Shop, body: impl Into<reqwest::Body>) -> Answer {
    let request = shop.request(Method::POST, "order", "/orders").header("Content-Type", "application/json");
    Answer::to(request.body(body)).await
}

async fn assert_nothing_happened(shop: &Shop) {
    shop.quiet().await;
    assert_eq!(shop.count("order", "/orders").await, 0);
    for topic in TOPICS {
        assert!(shop.records(topic).await.is_empty(), "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_json_is_malformed() {
    let shop = Shop::open().await;
    let deep = "[".repeat(200_000);
    for body in ["", " ", "{", "nonsense", r#"{"customerId": "ada""#, "{\"customerId\": \"a\nb\"}", "{'customerId': 1}", &deep] {
        place(&shop, body.to_owned()).await.is_problem(400, "MALFORMED_JSON");
    }
    for body in [format!("{} x", item_with("", "")), item_with("quantity", "01"), item_with("unitPrice", "9,90"), and("")] {
        place(&shop, body).await.is_problem(400, "MALFORMED_JSON");
    }
    for body in [&b"{\"customerId\": \"\xff\"}"[..], b"\x00\x01\x02", b"\xef\xbb\xbf\xff"] {
        place(&shop, body.to_vec()).await.is_problem(400, "MALFORMED_JSON");
    }
    assert_nothing_happened(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_names_its_field() {
    let shop = Shop::open().await;
    let long = format!("\"{}\"", "x".repeat(101));
    let quantity = |value: &str| (item_with("quantity", value), "items[0].quantity");
    let price = |value: &str| (item_with("unitPrice", value), "items[0].unitPrice");
    let product = |value: &str| (item_with("productId", value), "items[0].productId");
    let customer = |value: &str| (of(value), "customerId");
    let mut cases = vec![
        (items(0), "items"),
        (items(101), "items"),
        (r#"{"customerId": "ada"}"#.to_owned(), "items"),
        (r#"{"customerId": "ada", "items": {}}"#.to_owned(), "items"),
        (r#"{"customerId": "ada", "items": null}"#.to_owned(), "items"),
        (r#"{"items": [{"productId": "tea", "quantity": 1, "unitPrice": 1}]}"#.to_owned(), "customerId"),
        (with_item("1"), "items[0]"),
        (with_item(r#"["tea", null, 1, 9.90]"#), "items[0]"),
        (with_item("{}"), "items[0].productId"),
        (with_item(r#"{"productId": "tea", "unitPrice": 1}"#), "items[0].quantity"),
        (with_item(r#"{"productId": "tea", "quantity": 1}"#), "items[0].unitPrice"),
        (with_item(r#"{"productId": "tea", "quantity": 1, "unitPrice": 1, "colour": "red"}"#), "items[0].colour"),
        (with_item(r#"{"productId": "tea", "quantity": 1, "unitPrice": 1, "productName": 5}"#), "items[0].productName"),
        (with_item(r#"{"productId": "tea", "quantity": 1, "unitPrice": 1, "productName": "a\u0007b"}"#), "items[0].productName"),
        (and(r#""coupon": "FREE""#), "coupon"),
        (and(r#""status": "COMPLETED""#), "status"),
        (and(r#""paymentMethod": "CASH""#), "paymentMethod"),
        (and(r#""paymentMethod": 7"#), "paymentMethod"),
        (and(r#""paymentMethod": {"PAYPAL": null}"#), "paymentMethod"),
        (and(r#""customerId": "bob""#), "customerId"),
        // Amounts that are valid individually but too large in total.
        (with_item(r#"{"productId": "tea", "quantity": 4294967295, "unitPrice": 92233720368547.00}"#), "items"),
        (with_item(&[r#"{"productId": "tea", "quantity": 1, "unitPrice": 92233720368547758.07}"#; 2].join(",")), "items"),
    ];
    for value in
        ["0", "-1", "1.5", "\"1\"", "true", "null", "[1]", "4294967296", "99999999999999999999", "1e400", "-1e400", "1e3"]
    {
        cases.push(quantity(value));
    }
    for value in
        ["0", "0.00", "-9.90", "9.999", "1e-3", "\"9.90\"", "null", "{}", "1e400", "99999999999999999999", "92233720368547758.08"]
    {
        cases.push(price(value));
    }
    for value in ["\"\"", "5", "null", "\"a\\nb\"", "\"\\u0000\"", long.as_str()] {
        cases.push(product(value));
        cases.push(customer(value));
    }
    for (body, field) in cases {
        let answer = place(&shop, body.clone()).await;
        assert_eq!(answer.blamed(), [field], "{body}: {}", answer.text);
        answer.is_problem(400, "VALIDATION_ERROR");
    }
    let array = r#"["ada", [{"productId": "tea", "quantity": 1, "unitPrice": 9.90}], null]"#;
    for body in ["[]", "null", "1", "\"order\"", "true", "{}", array] {
        place(&shop, body).await.is_problem(400, "VALIDATION_ERROR");
    }
    assert_nothing_happened(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_broken_rules_are_told_at_once() {
    let shop = Shop::open().await;
    let free = r#"{"productId": "tea", "quantity": 1, "unitPrice": 0}"#;
    let answer = place(&shop, with_item(&format!("{free}, {free}"))).await;
    answer.is_problem(400, "VALIDATION_ERROR");
    assert_eq!(answer.blamed(), ["items[0].unitPrice", "items[1].unitPrice"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_just_fits_is_taken() {
    let shop = Shop::open().await;
    let longest = format!("\"{}\"", "ü".repeat(100));
    for body in [items(1), items(100), of(&longest), item_with("unitPrice", "0.01"), item_with("unitPrice", "1.5e1")] {
        let answer = place(&shop, body.clone()).await;
        assert_eq!(answer.status, 202, "{body}: {}", answer.text);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_has_at_most_one_mebibyte() {
    let shop = Shop::open().await;
    let padded = |size: usize| item_with("", "") + &" ".repeat(size - item_with("", "").len());
    place(&shop, padded(2 << 20)).await.is_problem(413, "PAYLOAD_TOO_LARGE");
    place(&shop, padded((1 << 20) + 1)).await.is_problem(413, "PAYLOAD_TOO_LARGE");
    assert_nothing_happened(&shop).await;
    place(&shop, padded(1 << 20)).await.is(202);
    shop.close().await;
}
