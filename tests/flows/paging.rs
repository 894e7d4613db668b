//! Lists and their pages.

use sagas_tests::{SERVICES, Shop};

/// Every list of the services.
const LISTS: [(&str, &str); 5] = [
    ("order", "/orders"),
    ("inventory", "/products"),
    ("inventory", "/reservations"),
    ("payment", "/payments"),
    ("notification", "/notifications"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_newest_first() {
    let shop = Shop::open().await;
    let mut placed = Vec::new();
    for _ in 0..5 {
        placed.push(shop.place("ada lovelace", "tea", 1, 9.9).await);
    }
    shop.place("bob", "tea", 1, 9.9).await;
    placed.reverse();

    let mut seen = Vec::new();
    let mut next = Some("/api/v1/orders?customerId=ada%20lovelace&size=2".to_owned());
    while let Some(path) = next {
        let page = shop.get("order", &path).await;
        assert_eq!(page.header("x-total-count"), Some("5"));
        for order in page.is(200).as_array().unwrap() {
            assert_eq!(order["items"][0]["productId"], "tea", "lists give whole orders");
            seen.push(order["orderId"].as_str().unwrap().to_owned());
        }
        next = page.header("link").map(|link| {
            let (path, rel) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
            assert_eq!(rel, "; rel=\"next\"");
            path.to_owned()
        });
    }
    assert_eq!(seen, placed);
    assert_eq!(shop.list("order", "/orders?page=7&size=2").await.len(), 0);
    let orders = shop.list("order", "/orders?customerId=bob&status=SHIPPED").await;
    assert_eq!(orders.len(), 0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_page_is_refused() {
    let shop = Shop::open().await;
    let dead_letters = SERVICES.map(|service| (service, "/dead-letters"));
    for (service, list) in LISTS.into_iter().chain(dead_letters) {
        for (query, field) in [
            ("size=0", "size"),
            ("size=501", "size"),
            ("size=-1", "size"),
            ("size=ten", "size"),
            ("size=1.5", "size"),
            ("size=99999999999999999999", "size"),
            ("size=", "size"),
            ("page=-1", "page"),
            ("page=x", "page"),
            ("page=99999999999999999999", "page"),
            ("page=9223372036854775807", "page"),
        ] {
            let answer = shop.get(service, &format!("{list}?{query}")).await;
            answer.is_problem(400, "VALIDATION_ERROR");
            assert_eq!(answer.blamed(), [field], "{service}{list}?{query}");
        }
        for good in ["size=1", "size=500", "page=0", "page=18446744073709551&size=500"] {
            shop.get(service, &format!("{list}?{good}")).await.is(200);
        }
    }
    let unknown = shop.get("order", "/orders?status=LOST").await;
    unknown.is_problem(400, "VALIDATION_ERROR");
    assert_eq!(unknown.blamed(), ["status"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parameter_that_is_not_known_is_refused() {
    let shop = Shop::open().await;
    let dead_letters = SERVICES.map(|service| (service, "/dead-letters"));
    for (service, list) in LISTS.into_iter().chain(dead_letters) {
        let answer = shop.get(service, &format!("{list}?statuss=COMPLETED&size=1")).await;
        answer.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(answer.blamed(), ["statuss"], "{service}{list}");
    }
    shop.get("order", "/orders?status=COMPLETED&customerId=ada&page=0&size=1").await.is(200);
    shop.close().await;
}
