//! The operational routes of every service.

use reqwest::{
    Method,
    header::{HeaderMap, HeaderValue},
};
use sagas_tests::{Answer, SERVICES, Shop, eventually};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_lists_its_checks() {
    let shop = Shop::open().await;
    for service in SERVICES {
        for path in ["/health/live", "/health/ready", "/health"] {
            assert_eq!(shop.get(service, path).await.is(200)["status"], "UP", "{service}{path}");
        }
        let checks = shop.get(service, "/health").await.is(200)["checks"].clone();
        for name in ["database", "broker", "lag", "parkedKeys"] {
            assert_eq!(checks[name]["status"], "UP", "{service} {name}: {checks}");
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_what_was_delivered() {
    let shop = Shop::open().await;
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&order_id, "COMPLETED").await;
    shop.quiet().await;
    for (service, line) in [
        ("order", r#"sagas_deliveries_total{service="order",handler="confirm",outcome="done"} 1"#),
        ("order", r#"sagas_published_total{service="order",topic="orders"} 2"#),
        ("inventory", r#"sagas_deliveries_total{service="inventory",handler="reserve",outcome="done"} 1"#),
        ("payment", r#"sagas_deliveries_total{service="payment",handler="charge",outcome="done"} 1"#),
        ("notification", r#"sagas_deliveries_total{service="notification",handler="notify",outcome="done"} 2"#),
        ("analytics", r#"sagas_deliveries_total{service="analytics",handler="count",outcome="done"} 6"#),
    ] {
        let metrics = shop.get(service, "/metrics").await;
        assert_eq!(metrics.status, 200);
        assert!(metrics.header("content-type").unwrap().starts_with("text/plain"), "{:?}", metrics.headers);
        assert!(metrics.text.lines().any(|found| found == line), "no {line} in\n{}", metrics.text);
    }
    for service in SERVICES {
        for series in [
            "sagas_handler_duration_seconds_bucket",
            "sagas_commit_duration_seconds_bucket",
            "sagas_batch_size_bucket",
            "sagas_consumer_lag_records",
            "sagas_outbox_rows",
            "sagas_outbox_oldest_row_age_seconds",
            "sagas_dead_letters_total",
            "sagas_dead_letters_open",
            "sagas_parked_messages",
            "sagas_parked_keys",
        ] {
            eventually(&format!("{service} shows {series}"), async || {
                let text = shop.get(service, "/metrics").await.text;
                text.lines().any(|line| line.starts_with(series)).then_some(())
            })
            .await;
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_dead_letters_yet() {
    let shop = Shop::open().await;
    for service in SERVICES {
        for prefix in ["", "/api/v1"] {
            let list = shop.get(service, &format!("{prefix}/dead-letters")).await;
            assert_eq!((list.is(200), list.header("x-total-count")), (serde_json::json!([]), Some("0")), "{service}");
            let unknown = format!("{prefix}/dead-letters/{}", shop.fresh_id());
            shop.get(service, &unknown).await.is_problem(404, "NOT_FOUND");
            for call in ["retry", "discard"] {
                let request = shop.request(Method::POST, service, &format!("{unknown}/{call}"));
                Answer::to(request).await.is_problem(404, "NOT_FOUND");
            }
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correlation_id_is_taken_or_made_and_returned() {
    let shop = Shop::open().await;
    let longest = "x".repeat(128);
    let longer = "x".repeat(129);
    let ask = async |service: &str, path: &str, id: &[u8]| {
        let headers = HeaderMap::from_iter([("x-correlation-id".parse().unwrap(), HeaderValue::from_bytes(id).unwrap())]);
        let answer = Answer::to(shop.request(Method::GET, service, path).headers(headers)).await;
        answer.header("x-correlation-id").unwrap().to_owned()
    };
    for service in SERVICES {
        for path in ["/health/live", "/metrics", "/nowhere", "/dead-letters"] {
            for good in ["a", "~!/{}", longest.as_str()] {
                assert_eq!(ask(service, path, good.as_bytes()).await, good, "{service}{path}");
            }
            for bad in [&b""[..], b"two words", b"caf\xc3\xa9", longer.as_bytes()] {
                assert!(Uuid::parse_str(&ask(service, path, bad).await).is_ok(), "{service}{path}: {bad:?}");
            }
        }
        let made = shop.get(service, "/health/live").await;
        assert!(Uuid::parse_str(made.header("x-correlation-id").unwrap()).is_ok());
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_loads_nothing_from_elsewhere() {
    let shop = Shop::open().await;
    for path in ["/analytics/dashboard", "/api/v1/analytics/dashboard"] {
        let page = shop.get("analytics", path).await;
        assert_eq!(page.status, 200);
        assert!(page.header("content-type").unwrap().starts_with("text/html"), "{:?}", page.headers);
        assert!(page.text.starts_with("<!doctype html>"), "{path}");
        for elsewhere in ["src=\"http", "href=\"http", "url(http", "src=\"//", "href=\"//", "url(//", "@import", "<iframe"] {
            assert!(!page.text.contains(elsewhere), "{path} has {elsewhere}");
        }
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    }
    shop.close().await;
}
