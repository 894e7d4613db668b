//! Compares the services' descriptions at `/openapi.json` with their behaviour. `scripts/openapi` does the same with requests of
//! every kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use reqwest::Method;
use sagas_tests::{Answer, SERVICES, Shop};
use serde_json::{Value, json};

/// Headers of every HTTP answer, which descriptions omit.
const USUAL: [&str; 4] = ["content-length", "content-type", "date", "transfer-encoding"];

/// The OpenAPI description of a service.
struct Described(Value);

impl Described {
    async fn of(shop: &Shop, service: &str) -> Self {
        let document = shop.get(service, "/openapi.json").await.is(200);
        assert_eq!(document["openapi"], "3.1.0");
        Self(document)
    }

    /// Returns the methods of each path.
    fn routes(&self) -> BTreeMap<String, BTreeSet<String>> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        paths
            .map(|(path, item)| (path.clone(), item.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect()))
            .collect()
    }

    /// Checks that the description of the operation covers `answer`, including its fields and headers.
    fn has(&self, method: &Method, path: &str, answer: &Answer) {
        let what = format!("{method} {path}: {} {}", answer.status, answer.text);
        let mut at = format!(
            "/paths/{}/{}/responses/{}",
            path.replace('~', "~0").replace('/', "~1"),
            method.as_str().to_lowercase(),
            answer.status
        );
        if let Some(reference) = self.0.pointer(&format!("{at}/$ref")) {
            at = reference.as_str().unwrap().trim_start_matches('#').to_owned();
        }
        let response = self.0.pointer(&at).unwrap_or_else(|| panic!("the status is not described: {what}"));
        self.has_headers(response, answer, &what);
        let Some(kind) = answer.header("content-type") else {
            assert!(answer.text.is_empty() && response.get("content").is_none(), "{what}");
            return;
        };
        let essence = kind.split(';').next().unwrap().trim();
        let content = response["content"].get(essence).unwrap_or_else(|| panic!("{essence} is not described: {what}"));
        if essence.ends_with("json") {
            let schema = format!("#{at}/content/{}/schema", essence.replace('/', "~1"));
            self.fits(&schema, &answer.json(), &what);
        } else if essence != "text/event-stream" {
            assert_eq!(content["schema"]["type"], "string", "{what}");
        }
    }

    fn has_headers(&self, response: &Value, answer: &Answer, what: &str) {
        let empty = serde_json::Map::new();
        let described = response["headers"].as_object().unwrap_or(&empty);
        let names: BTreeSet<_> = described.keys().map(|name| name.to_lowercase()).collect();
        for name in answer.headers.keys().map(|name| name.as_str()).filter(|name| !USUAL.contains(name)) {
            assert!(names.contains(name), "the header {name} is not described: {what}");
        }
        for (name, header) in described {
            let reference = header["$ref"].as_str().map(|reference| reference.trim_start_matches('#'));
            let header = reference.map_or(Some(header), |reference| self.0.pointer(reference)).unwrap();
            let needed = header["required"] == true;
            assert!(!needed || answer.header(name).is_some(), "the header {name} is missing: {what}");
        }
    }

    fn fits(&self, schema: &str, value: &Value, what: &str) {
        let mut whole = self.0.clone();
        close(&mut whole);
        whole["$ref"] = schema.replace('{', "%7B").replace('}', "%7D").into();
        let validator = jsonschema::options().should_validate_formats(true).build(&whole).unwrap();
        let errors: Vec<_> = validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}\n{what}", errors.join("\n"));
    }
}

/// Makes every schema reject fields that it does not name. A combination of schemas is closed as a whole.
fn close(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match name.as_str() {
                    "schema" | "items" => close_one(value),
                    "schemas" => value.as_object_mut().into_iter().flatten().for_each(|(_, schema)| close(schema)),
                    "properties" => value.as_object_mut().into_iter().flatten().for_each(|(_, schema)| close_one(schema)),
                    _ => close(value),
                }
            }
        }
        _ => {}
    }
}

fn close_one(schema: &mut Value) {
    close(schema);
    let Some(fields) = schema.as_object_mut() else { return };
    if ["$ref", "allOf", "oneOf", "properties"].iter().any(|keyword| fields.contains_key(*keyword)) {
        fields.insert("unevaluatedProperties".to_owned(), false.into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_described_and_no_other() {
    let shop = Shop::open().await;
    for service in SERVICES {
        for (path, described) in Described::of(&shop, service).await.routes() {
            let made_up = path.replace(['{', '}'], "");
            for prefix in ["", "/api/v1"] {
                let refused = Answer::to(shop.request(Method::TRACE, service, &format!("{prefix}{made_up}"))).await;
                refused.is_problem(405, "METHOD_NOT_ALLOWED");
                let allowed = refused.header("allow").unwrap().split(',').map(str::to_owned);
                assert_eq!(allowed.filter(|method| method != "HEAD").collect::<BTreeSet<_>>(), described, "{service} {path}");
            }
        }
    }
    shop.close().await;
    // The paths in the source: a route made by `routes!` is described, and there are no other routes.
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ecommerce/src/services");
    for service in SERVICES {
        let source = fs::read_to_string(services.join(service).join("http.rs")).unwrap();
        assert!(source.contains(".routes(routes!("), "{service} has routes");
        for other in [".route(", ".route_service(", ".nest(", ".nest_service(", ".fallback(", "Router::new(", "Router::from("] {
            assert!(!source.contains(other), "{service} has a route that nobody describes: `{other}`");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_as_they_are_described() {
    let shop = Shop::open().await;
    let done = shop.place("ada", "tea", 2, 9.9).await;
    shop.order_is(&done, "COMPLETED").await;
    let short = shop.place("ada", "sold-out", 1, 19.0).await;
    shop.order_is(&short, "CANCELLED").await;
    let declined = shop.place("bob", "teapot", 20, 490.0).await;
    shop.order_is(&declined, "CANCELLED").await;
    shop.quiet().await;
    let nobody = shop.fresh_id();

    let get = |service, path, named: &[(&str, &str)]| (Method::GET, service, path, named_by(named), None);
    let post = |service, path, named: &[(&str, &str)], body| (Method::POST, service, path, named_by(named), Some(body));
    let put = |service, path, body| (Method::PUT, service, path, BTreeMap::new(), Some(body));
    let (order, other) = ([("orderId", done.as_str())], [("orderId", short.as_str())]);
    let unknown = [("orderId", nobody.as_str())];
    let instance = [("saga", "PlaceOrder"), ("id", done.as_str())];
    let by = json!({"by": "ada"});
    let new_order = json!({"customerId": "ada", "items": [{"productId": "tea", "quantity": 1, "unitPrice": 9.9}]});
    let product = json!({"productId": "cocoa", "name": "Cocoa", "price": 7.5, "quantity": 3});
    let replay = json!({"topic": "payments", "fromOffset": 0, "reason": "a test", "by": "ada"});
    let mut dry = replay.clone();
    dry["dryRun"] = true.into();

    let mut calls = vec![
        (202, post("order", "/orders", &[], new_order)),
        (400, post("order", "/orders", &[], json!({"customerId": ""}))),
        (200, get("order", "/orders", &[])),
        (200, get("order", "/orders/{orderId}", &order)),
        (200, get("order", "/orders/{orderId}", &other)),
        (404, get("order", "/orders/{orderId}", &unknown)),
        (200, get("order", "/orders/{orderId}/status", &order)),
        (200, get("order", "/orders/{orderId}/events", &order)),
        (200, get("order", "/orders/{orderId}/saga", &order)),
        (409, post("order", "/orders/{orderId}/cancel", &order, json!({}))),
        (202, post("order", "/orders/{orderId}/cancel", &other, json!({"reason": null}))),
        (202, post("order", "/orders/{orderId}/ship", &order, json!({"trackingNumber": "1Z"}))),
        (409, post("order", "/orders/{orderId}/ship", &other, json!({"trackingNumber": "1Z"}))),
        (200, get("order", "/check", &[])),
        (200, get("order", "/sagas", &[])),
        (200, get("order", "/sagas/{saga}/{id}", &instance)),
        (409, post("order", "/sagas/{saga}/{id}/retry", &instance, by)),
        (200, post("order", "/replays", &[], dry)),
        (202, post("order", "/replays", &[], replay)),
        (200, get("order", "/replays", &[])),
        (200, post("order", "/dead-letters/retry", &[], json!({"all": true, "dryRun": true}))),
        (200, post("order", "/dead-letters/discard", &[], json!({"all": true}))),
        (200, get("inventory", "/products", &[])),
        (201, post("inventory", "/products", &[], product.clone())),
        (409, post("inventory", "/products", &[], product)),
        (200, get("inventory", "/products/{productId}", &[("productId", "tea")])),
        (200, post("inventory", "/products/{productId}/restock", &[("productId", "tea")], json!({"quantity": 1}))),
        (200, get("inventory", "/reservations", &[])),
        (200, get("inventory", "/check", &[])),
        (200, get("payment", "/payments", &[])),
        (200, get("payment", "/gateway", &[])),
        (200, put("payment", "/gateway", json!({"declineAbove": null, "latencyMs": 0}))),
        (200, get("payment", "/check", &[])),
        (200, get("notification", "/notifications", &[])),
        (200, get("notification", "/providers", &[])),
        (200, put("notification", "/providers", json!({"email": {"failureRate": 0}}))),
        (200, get("analytics", "/analytics/metrics", &[])),
        (200, get("analytics", "/analytics/events", &[])),
        (200, get("analytics", "/analytics/dashboard", &[])),
    ];
    for service in SERVICES {
        for path in ["/health/live", "/health/ready", "/health", "/metrics", "/dead-letters", "/openapi.json", "/docs"] {
            calls.push((200, get(service, path, &[])));
        }
        calls.push((404, get(service, "/dead-letters/{id}", &[("id", "none")])));
        calls.push((200, get(service, "/docs/{file}", &[("file", "swagger-ui.css")])));
    }

    let mut documents = BTreeMap::new();
    for service in SERVICES {
        documents.insert(service, Described::of(&shop, service).await);
    }
    for (status, (method, service, path, named, body)) in calls {
        let asked = named.iter().fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        let mut request = shop.request(method.clone(), service, &asked);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = Answer::to(request).await;
        assert_eq!(answer.status, status, "{method} {service}{path}: {}", answer.text);
        documents[service].has(&method, path, &answer);
        // An unexpected body is read, and can be too large.
        let large = shop.request(method.clone(), service, &asked).header("content-type", "application/json");
        let refused = Answer::to(large.body(vec![b' '; (1 << 20) + 1])).await;
        refused.is_problem(413, "PAYLOAD_TOO_LARGE");
        documents[service].has(&method, path, &refused);
        if body.is_some() {
            let text = shop.request(method.clone(), service, &asked).header("content-type", "application/xml").body("x");
            let refused = Answer::to(text).await;
            refused.is_problem(415, "UNSUPPORTED_MEDIA_TYPE");
            documents[service].has(&method, path, &refused);
        }
    }
    // A request with a foreign host name, as from a page of another site after DNS rebinding.
    for (service, path) in [("order", "/dead-letters"), ("order", "/check"), ("payment", "/gateway")] {
        let misdirected = Answer::to(shop.request(Method::GET, service, path).header("host", "evil.example")).await;
        misdirected.is_problem(421, "MISDIRECTED_REQUEST");
        documents[service].has(&Method::GET, path, &misdirected);
    }
    // The stream does not end, so only its head is checked.
    let stream = shop.request(Method::GET, "analytics", "/analytics/stream").send().await.unwrap();
    let head = Answer { status: stream.status().as_u16(), headers: stream.headers().clone(), text: String::new() };
    documents["analytics"].has(&Method::GET, "/analytics/stream", &head);
    drop(stream);
    shop.close().await;
}

fn named_by(named: &[(&str, &str)]) -> BTreeMap<String, String> {
    named.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
