//! The rights of operators on an address that others can reach, and the health check of a container.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use reqwest::{Method, StatusCode};
use sagas_tests::process::{Ended, Program, Service, Site, free_base_port};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use super::program::{ecommerce, serve};

const TOKEN: &str = "a-token-that-a-test-has-made-up";
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls that read messages or act: one of each kind of route.
const OPERATED: [(Service, Method, &str); 8] = [
    (Service::Order, Method::GET, "/check"),
    (Service::Order, Method::GET, "/dead-letters"),
    (Service::Order, Method::GET, "/api/v1/dead-letters"),
    (Service::Order, Method::GET, "/sagas"),
    (Service::Inventory, Method::GET, "/replays"),
    (Service::Payment, Method::GET, "/gateway"),
    (Service::Payment, Method::PUT, "/api/v1/gateway"),
    (Service::Notification, Method::PUT, "/providers"),
];

const OPEN: [(Service, &str); 8] = [
    (Service::Order, "/orders"),
    (Service::Inventory, "/api/v1/products"),
    (Service::Payment, "/payments"),
    (Service::Analytics, "/analytics/dashboard"),
    (Service::Order, "/health"),
    (Service::Order, "/metrics"),
    (Service::Order, "/openapi.json"),
    (Service::Payment, "/api/v1/docs"),
];

/// Returns the command that serves on every address of this machine.
fn open_to_others(data_dir: &Path, base_port: u16) -> Command {
    let mut command = serve(data_dir, base_port);
    command.args(["--host", "0.0.0.0"]);
    command
}

async fn status(shop: &Site, (service, method, path): &(Service, Method, &str), token: Option<&str>) -> StatusCode {
    let mut request = shop.http.request(method.clone(), shop.url(*service, path));
    if *method == Method::PUT {
        request = request.json(&json!({}));
    }
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap().status()
}

/// Returns the paths in the description of the order service, and whether it declares a token for them.
async fn described(shop: &Site) -> (BTreeSet<String>, bool) {
    let document: Value = shop.http.get(shop.url(Service::Order, "/openapi.json")).send().await.unwrap().json().await.unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operators = |path: &str| document["paths"][path]["get"]["security"] == json!([{"operator": []}]);
    (paths.keys().cloned().collect(), operators("/check") && operators("/dead-letters") && !operators("/orders"))
}

async fn check(base_port: u16, token: &[&str]) -> Ended {
    let mut command = ecommerce(["check", "--json", "--host", "0.0.0.0", "--base-port", &base_port.to_string()]);
    Program::run(command.args(token), PATIENCE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_open_address_what_acts_takes_the_token() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let (shop, file) = (Site::at(base_port), folder.path().join("token"));
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let mut program = Program::start(open_to_others(folder.path(), base_port).arg("--operator-token-file").arg(&file));
    program.serving().await;
    for (service, path) in OPEN {
        assert_eq!(status(&shop, &(service, Method::GET, path), None).await, 200, "{path}");
    }
    for call in &OPERATED {
        assert_eq!(status(&shop, call, None).await, 401, "{call:?}");
        assert_eq!(status(&shop, call, Some("another-token-of-that-length!!!")).await, 401, "{call:?}");
        assert_eq!(status(&shop, call, Some(TOKEN)).await, 200, "{call:?}");
    }
    let (paths, with_a_token) = described(&shop).await;
    assert!(with_a_token && paths.contains("/check") && paths.contains("/dead-letters"), "{paths:?}");
    // The order service queries the others with its own token.
    let (asked, refused) =
        (check(base_port, &["--operator-token-file", file.to_str().unwrap()]).await, check(base_port, &[]).await);
    assert_eq!(asked.status.code(), Some(0), "{asked:#?}");
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("--operator-token-file"), "{refused:#?}");
    program.signal("TERM").await;
    let ended = program.ends_within(PATIENCE).await;
    assert!(!ended.stdout.join("").contains(TOKEN) && !ended.stderr.contains(TOKEN), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_open_address_without_a_token_nothing_acts() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let mut program = Program::start(&mut open_to_others(folder.path(), base_port));
    program.serving().await;
    for call in &OPERATED {
        assert_eq!(status(&shop, call, Some(TOKEN)).await, 404, "{call:?}");
    }
    let (paths, with_a_token) = described(&shop).await;
    assert!(!with_a_token && paths.contains("/orders") && paths.contains("/docs"), "{paths:?}");
    assert!(!paths.contains("/check") && !paths.contains("/dead-letters"), "what is not there is not described: {paths:?}");
    for (service, path) in OPEN {
        assert_eq!(status(&shop, &(service, Method::GET, path), None).await, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_loopback_address_only_pages_of_other_sites_are_refused() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let mut program = Program::start(serve(folder.path(), base_port).env("ECOMMERCE_OPERATOR_TOKEN", TOKEN));
    program.serving().await;
    for call in &OPERATED {
        assert_eq!(status(&shop, call, None).await, 200, "{call:?}");
    }
    let (paths, with_a_token) = described(&shop).await;
    assert!(!with_a_token && paths.contains("/check") && paths.contains("/dead-letters"), "{paths:?}");
    let url = shop.url(Service::Order, "/dead-letters/discard");
    let form = shop.http.post(&url).header("content-type", "text/plain").body(r#"{"all":true}"#).send().await.unwrap();
    assert_eq!(form.status(), 403);
    let page = shop.http.post(&url).header("origin", "https://evil.example").json(&json!({"all": true})).send().await.unwrap();
    assert_eq!(page.status(), 403);
    assert_eq!(page.json::<Value>().await.unwrap()["code"], "FORBIDDEN");
    let own = shop.http.post(&url).json(&json!({"all": true})).send().await.unwrap();
    assert_eq!(own.status(), 200);
}

/// Sends a request line with these header lines, and returns the status and body of the answer.
async fn raw(shop: &Site, request: &str, headers: &str) -> (u16, String) {
    let url = reqwest::Url::parse(&shop.url(Service::Order, "/")).unwrap();
    let mut connection = TcpStream::connect(("127.0.0.1", url.port().unwrap())).await.unwrap();
    connection.write_all(format!("{request}\r\n{headers}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, connection.read_to_string(&mut answer)).await.expect("an answer in time").unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_loopback_address_a_page_whose_name_stands_for_it_is_refused() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let mut program = Program::start(serve(folder.path(), base_port).env("ECOMMERCE_OPERATOR_TOKEN", TOKEN));
    program.serving().await;
    let port = reqwest::Url::parse(&shop.url(Service::Order, "/")).unwrap().port().unwrap();
    let own = format!("GET http://127.0.0.1:{port}/dead-letters HTTP/1.1");
    for (request, headers, expected) in [
        ("GET /dead-letters HTTP/1.1", format!("Host: localhost:{port}\r\n"), 200),
        ("GET /dead-letters HTTP/1.1", format!("Host: 127.0.0.1:{port}\r\n"), 200),
        ("GET /dead-letters HTTP/1.1", format!("Host: [::1]:{port}\r\n"), 200),
        ("GET /dead-letters HTTP/1.0", String::new(), 200),
        ("GET /dead-letters HTTP/1.1", String::new(), 200),
        (own.as_str(), format!("Host: 127.0.0.1:{port}\r\n"), 200),
        (own.as_str(), "Host: evil.example\r\n".to_owned(), 421),
        ("GET /dead-letters HTTP/1.1", "Host: evil.example\r\n".to_owned(), 421),
        ("GET /dead-letters HTTP/1.1", format!("Host: evil.example:{port}\r\n"), 421),
        ("GET /dead-letters HTTP/1.1", format!("Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n"), 421),
        ("GET /dead-letters HTTP/1.1", "Host:\r\n".to_owned(), 421),
        ("GET http://evil.example/dead-letters HTTP/1.1", format!("Host: 127.0.0.1:{port}\r\n"), 421),
        ("GET http://evil.example/api/v1/dead-letters HTTP/1.1", format!("Host: 127.0.0.1:{port}\r\n"), 421),
        ("GET /api/v1/sagas HTTP/1.1", "Host: evil.example\r\n".to_owned(), 421),
        // The browser treats its requests as same-origin.
        (
            "POST /dead-letters/discard HTTP/1.1",
            format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\nSec-Fetch-Site: same-origin\r\n"),
            421,
        ),
        // A proxy on this machine, through which an operator connects.
        ("GET /dead-letters HTTP/1.1", format!("Host: shop.example\r\nAuthorization: Bearer {TOKEN}\r\n"), 200),
        // Routes for everyone.
        ("GET /orders HTTP/1.1", "Host: shop.example\r\n".to_owned(), 200),
        ("GET /health/ready HTTP/1.1", "Host: order:8081\r\n".to_owned(), 200),
        ("GET /metrics HTTP/1.1", "Host: order:8081\r\n".to_owned(), 200),
    ] {
        let (status, body) = raw(&shop, request, &headers).await;
        assert_eq!(status, expected, "{request} {headers}: {body}");
        if expected == 421 {
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((&problem["code"], &problem["status"]), (&json!("MISDIRECTED_REQUEST"), &json!(421)), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("token");
    fs::write(&short, "secret").unwrap();
    let missing = folder.path().join("nothing");
    for path in [&short, &missing] {
        let ended = Program::run(serve(folder.path(), 0).arg("--operator-token-file").arg(path), PATIENCE).await;
        assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
        assert!(ended.stderr.contains("--operator-token-file") && ended.stderr.contains(path.to_str().unwrap()), "{ended:#?}");
    }
    let ended = Program::run(serve(folder.path(), 0).env("ECOMMERCE_OPERATOR_TOKEN", "my secret"), PATIENCE).await;
    assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("ECOMMERCE_OPERATOR_TOKEN") && !ended.stderr.contains("my secret"), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_asks_the_services_of_the_same_settings() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let port = base_port.to_string();
    let health = async |port: &str, services: &str| {
        let mut command = ecommerce(["health", "--json", "--host", "0.0.0.0", "--base-port", port, "--services", services]);
        Program::run(&mut command, PATIENCE).await
    };
    let mut program = Program::start(open_to_others(folder.path(), base_port).args(["--services", "payment,analytics"]));
    program.serving().await;
    let ready = health(&port, "payment,analytics").await;
    assert_eq!(ready.status.code(), Some(0), "{ready:#?}");
    let told: Value = serde_json::from_str(&ready.stdout[0]).unwrap();
    assert_eq!((&told["payment"]["status"], &told["analytics"]["status"]), (&json!("UP"), &json!("UP")));
    let half = health(&port, "payment,order").await;
    assert_eq!(half.status.code(), Some(1), "{half:#?}");
    let told: Value = serde_json::from_str(&half.stdout[0]).unwrap();
    assert_eq!(told["order"]["status"], "DOWN");
    assert!(told["order"]["detail"].as_str().unwrap().contains("nothing listens at http://127.0.0.1"), "{told}");
    let nowhere = health("0", "payment").await;
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:#?}");
}
