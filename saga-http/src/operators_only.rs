//! Routes for operators only: they read messages or change something.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

use saga_core::runtime::ServiceHandle;

use super::{
    Operator, Problem,
    operators::{Access, Admission, surface},
};

/// Restricts `routes` of `service` to its [operators](crate::Operators).
///
/// A request must have a credential that `Service::operators` or `App::operators` accepts, or come from this machine where
/// [`open_on_loopback`](crate::Operators::open_on_loopback) applies. Other requests are answered 401. If neither is configured,
/// the routes answer every request 401; with operators [beside the routes](crate::Operators::beside_the_routes) the routes do not
/// exist then. A request that changes something and that a page of another site has sent is answered 403.
///
/// Use it in `Service::routes`. Mounted elsewhere, the routes always need a credential, because
/// [`open_on_loopback`](crate::Operators::open_on_loopback) only applies to listeners of the app.
///
/// The routes of [`operator_routes`](super::operator_routes) are already restricted. For a service's own routes:
///
/// ```
/// # use axum::{Router, routing::get};
/// # use saga_core::runtime::ServiceHandle;
/// # use saga_http::operators_only;
/// fn routes(service: ServiceHandle) -> Router {
///     let switches = Router::new().route("/switches", get(async || "all off"));
///     Router::new().route("/hello", get(async || "hello")).merge(operators_only(&service, switches))
/// }
/// ```
///
/// A handler gets the operator's name with `Option<Extension<Operator>>`, an [`Operator`]. With the feature `openapi` this function also
/// takes an `OpenApiRouter`, and adds the credential to its description.
pub fn operators_only<R: OperatedRoutes>(service: &ServiceHandle, routes: R) -> R {
    routes.only(service)
}

/// Routes that [`operators_only`] can restrict: an axum [`Router`] or an `OpenApiRouter`.
pub trait OperatedRoutes: sealed::Sealed {
    /// Restricts these routes to the operators of `service`.
    #[doc(hidden)]
    #[must_use]
    fn only(self, service: &ServiceHandle) -> Self;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for axum::Router {}
    #[cfg(feature = "openapi")]
    impl Sealed for utoipa_axum::router::OpenApiRouter {}
}

impl OperatedRoutes for Router {
    fn only(self, service: &ServiceHandle) -> Self {
        only(service, &surface(service).routes, self)
    }
}

#[cfg(feature = "openapi")]
impl OperatedRoutes for utoipa_axum::router::OpenApiRouter {
    fn only(self, service: &ServiceHandle) -> Self {
        let access = &surface(service).routes;
        let (router, description) = self.split_for_parts();
        let mut guarded = Self::from(only(service, access, router));
        *guarded.get_openapi_mut() = super::schema::operated(access, description);
        guarded
    }
}

/// Restricts `routes` of `service` to requests with `access`.
pub(super) fn only(service: &ServiceHandle, access: &Access, routes: Router) -> Router {
    guarded(&service.name().into(), access, routes)
}

/// Restricts `routes` of the service called `service` to requests with `access`.
pub(super) fn guarded(service: &Arc<str>, access: &Access, routes: Router) -> Router {
    let state = (service.clone(), access.clone());
    match access.exists() {
        false => Router::new(),
        true if !routes.has_routes() => routes,
        true => access.authenticated(routes.route_layer(middleware::from_fn_with_state(state, guard))),
    }
}

/// Request extension: the request arrived at a listener of the app on a loopback address. The type is private, so no other code can add it.
#[derive(Debug, Clone, Copy)]
struct OnLoopback;

/// Returns `router` with what the listener on `address` adds to each request.
pub(crate) fn listened(router: Router, address: SocketAddr) -> Router {
    match address.ip().to_canonical().is_loopback() {
        true => router.layer(Extension(OnLoopback)),
        false => router,
    }
}

async fn guard(State((service, access)): State<(Arc<str>, Access)>, mut request: Request, next: Next) -> Response {
    // An operator without a name counts as unauthenticated, and inner handlers must not see it.
    let admission = match request.extensions_mut().remove::<Operator>().filter(Operator::is_named) {
        Some(operator) => Admission::As(operator),
        None => {
            let on_loopback = request.extensions().get::<OnLoopback>().is_some();
            access.admit(bearer(request.headers()), on_loopback, named(&request))
        }
    };
    let operator = match admission {
        Admission::As(operator) => Some(operator),
        Admission::Unnamed => None,
        Admission::Unauthenticated => {
            let mut response = Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", access.refusal()).into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
        Admission::Misdirected => {
            let detail = "this is for operators on this machine: ask for `localhost`, a loopback address, or a public name of \
                          the service";
            return Problem::new(StatusCode::MISDIRECTED_REQUEST, "MISDIRECTED_REQUEST", detail).into_response();
        }
    };
    let by = operator.as_ref().map_or_else(|| "not named".to_owned(), Operator::to_string);
    if let Some(operator) = operator {
        request.extensions_mut().insert(operator);
    }
    if !acts(request.method()) {
        return next.run(request).await;
    }
    if from_another_site(&access, request.headers()) {
        let detail = "a page of another site has sent this; send JSON or no body, from a program or from a page of this service";
        return Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail).into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::info!(service = &*service, by, %method, path, status = response.status().as_u16(), "an operator has acted");
    response
}

/// Returns the name to record for an action: that of the authenticated operator, or else the one in the request.
pub(super) fn by(operator: Option<Extension<Operator>>, said: Option<String>) -> Result<String, Problem> {
    match (operator, said) {
        (Some(Extension(operator)), Some(said)) if said != operator.name() => Err(Problem::invalid_field(
            "by",
            format!("is not the operator of the credential, `{operator}`; leave it out, or write that name"),
        )),
        (Some(Extension(operator)), _) => Ok(operator.to_string()),
        (None, Some(said)) => Ok(said),
        (None, None) => Err(Problem::invalid_field("by", "is missing")),
    }
}

/// Returns the hosts that the request names, each with its port; `None` for one that is not text. A browser always names one.
fn named(request: &Request) -> impl Iterator<Item = Option<&str>> {
    let target = request.uri().authority().map(|authority| Some(authority.as_str()));
    target.into_iter().chain(request.headers().get_all(header::HOST).iter().map(|host| host.to_str().ok()))
}

fn acts(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser may have sent this request for a page of another site: its headers show so, or it is a form, which a browser sends
/// without a preflight request.
fn from_another_site(access: &Access, headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let form = headers.get_all(header::CONTENT_TYPE).iter().any(|value| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let forms: [&[u8]; 3] = [b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain"];
        forms.iter().any(|form| kind.eq_ignore_ascii_case(form))
    });
    let fetched = headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let origin = headers.contains_key(header::ORIGIN)
        && text(header::ORIGIN).and_then(|origin| Some(origin.split_once("://")?.1)).is_none_or(|origin| {
            let is_asked_for = text(header::HOST).is_some_and(|host| origin.eq_ignore_ascii_case(host));
            // A proxy may have replaced the name of the host.
            !is_asked_for && !access.is_public(origin)
        });
    form || fetched || origin
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::request::Builder,
        routing::{get, post},
    };
    use tower::ServiceExt;

    use super::*;
    use crate::Operators;

    const TOKEN: &str = "a-token-of-thirty-two-characters";

    /// As in the example service: beside the routes, and open on a loopback address.
    fn operators(address: &str, token: Option<&str>) -> Access {
        let operators = Operators::beside_the_routes().open_on_loopback().public_name("shop.example");
        let operators = token.into_iter().fold(operators, Operators::token);
        operators.surface(Some(address.parse().expect("an address"))).routes
    }

    async fn status(operators: &Access, request: Builder) -> u16 {
        let routes = Router::new().route("/letters", get(async || "read")).route("/act", post(async || "done"));
        let router = Router::new().route("/open", get(async || "open")).merge(guarded(&"shop".into(), operators, routes));
        let router = listened(router, "127.0.0.1:1".parse().expect("an address"));
        let response = router.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
        response.status().as_u16()
    }

    #[tokio::test]
    async fn a_loopback_address_is_open() {
        for address in ["127.0.0.1:1", "127.8.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            for token in [None, Some(TOKEN)] {
                let operators = operators(address, token);
                assert!(operators.exists() && !operators.takes_a_credential(), "{address}");
                assert_eq!(status(&operators, Request::get("/letters")).await, 200, "{address}");
            }
        }
    }

    #[tokio::test]
    async fn any_other_address_takes_the_token() {
        let operators = operators("0.0.0.0:1", Some(TOKEN));
        let with = |value: &str| Request::get("/letters").header("authorization", value);
        assert_eq!(status(&operators, Request::get("/open")).await, 200);
        assert_eq!(status(&operators, Request::get("/letters")).await, 401);
        for wrong in
            ["Bearer", "Bearer ", &TOKEN[1..], "Basic YTpi", &format!("Bearer {}", &TOKEN[1..]), &format!("Bearer {TOKEN}x")]
        {
            assert_eq!(status(&operators, with(wrong)).await, 401, "{wrong}");
        }
        assert_eq!(status(&operators, with(&format!("Bearer {TOKEN}"))).await, 200);
        assert_eq!(status(&operators, with(&format!("bearer {TOKEN}"))).await, 200);
        assert!(!format!("{operators:?}").contains(TOKEN));
    }

    #[tokio::test]
    async fn without_a_token_the_routes_are_not_there() {
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            let operators = operators(address, None);
            assert_eq!(status(&operators, Request::get("/letters")).await, 404, "{address}");
            assert_eq!(status(&operators, Request::get("/open")).await, 200, "{address}");
        }
    }

    #[tokio::test]
    async fn on_a_loopback_address_only_the_machine_and_the_service_are_asked_for() {
        let (open, with_token) = (operators("127.0.0.1:1", None), operators("[::1]:1", Some(TOKEN)));
        let asks = |target: &str, hosts: &[&str]| {
            hosts.iter().fold(Request::get(target), |request, host| request.header("host", host.as_bytes()))
        };
        for (target, hosts, expected) in [
            ("/letters", &[][..], 200),
            ("/letters", &["localhost:1"][..], 200),
            ("/letters", &["[::1]:1"], 200),
            ("/letters", &["shop.example"], 200),
            ("/letters", &["evil.example:1"], 421),
            ("/letters", &[""], 421),
            ("/letters", &["é"], 421),
            ("/letters", &["localhost", "evil.example"], 421),
            ("http://127.0.0.1:1/letters", &["127.0.0.1:1"], 200),
            ("http://127.0.0.1:1/letters", &["evil.example"], 421),
            ("http://evil.example/letters", &["127.0.0.1:1"], 421),
            ("http://evil.example/letters", &[], 421),
            ("/open", &["evil.example"], 200),
        ] {
            assert_eq!(status(&open, asks(target, hosts)).await, expected, "{target} {hosts:?}");
            assert_eq!(status(&with_token, asks(target, hosts)).await, expected, "{target} {hosts:?}");
            let sent = asks(target, hosts).header("authorization", format!("Bearer {TOKEN}"));
            assert_eq!(status(&with_token, sent).await, 200, "{target} {hosts:?}");
        }
        let elsewhere = operators("0.0.0.0:1", Some(TOKEN));
        for host in ["elsewhere.example", "é"] {
            let sent = asks("/letters", &[host]).header("authorization", format!("Bearer {TOKEN}"));
            assert_eq!(status(&elsewhere, sent).await, 200, "{host:?}");
        }
    }

    #[tokio::test]
    async fn a_page_whose_name_stands_for_the_machine_is_no_operator() {
        let operators = operators("127.0.0.1:8081", None);
        let page = |request: Builder| {
            let of = "http://evil.example:8081";
            request.header("host", "evil.example:8081").header("origin", of).header("sec-fetch-site", "same-origin")
        };
        assert_eq!(status(&operators, page(Request::get("/letters"))).await, 421);
        assert_eq!(status(&operators, page(Request::post("/act"))).await, 421);
    }

    #[tokio::test]
    async fn a_page_of_another_site_does_nothing() {
        let operators = operators("127.0.0.1:1", None);
        for (headers, expected) in [
            (&[][..], 200),
            (&[("content-type", "application/json")], 200),
            (&[("origin", "http://127.0.0.1:8081"), ("host", "127.0.0.1:8081"), ("sec-fetch-site", "same-origin")], 200),
            (&[("origin", "http://evil.example"), ("host", "127.0.0.1:8081")], 403),
            (&[("origin", "null"), ("host", "127.0.0.1:8081")], 403),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("content-type", "application/x-www-form-urlencoded")], 403),
            (&[("content-type", "Text/Plain; charset=utf-8")], 403),
            (&[("content-type", "multipart/form-data; boundary=x")], 403),
        ] {
            let request = headers.iter().fold(Request::post("/act"), |request, (name, value)| request.header(*name, *value));
            assert_eq!(status(&operators, request).await, expected, "{headers:?}");
        }
        assert_eq!(status(&operators, Request::get("/letters").header("sec-fetch-site", "cross-site")).await, 200);
    }

    #[tokio::test]
    async fn what_is_open_to_the_machine_is_so_on_a_listener_of_the_app_alone() {
        let operators = operators("127.0.0.1:1", None);
        let answer = async |listens: Option<&str>| {
            let router = guarded(&"shop".into(), &operators, Router::new().route("/letters", get(async || "read")));
            let router = match listens {
                Some(address) => listened(router, address.parse().expect("an address")),
                None => router,
            };
            let request = Request::get("/letters").header("host", "localhost").body(Body::empty()).expect("a request");
            router.oneshot(request).await.expect("an answer").status().as_u16()
        };
        assert_eq!(answer(Some("127.0.0.1:1")).await, 200);
        assert_eq!(answer(Some("[::ffff:127.0.0.1]:1")).await, 200);
        assert_eq!(answer(Some("0.0.0.0:1")).await, 401);
        assert_eq!(answer(None).await, 401, "an axum app of one's own");
    }

    /// The browser has the page from `shop.example`, and the proxy uses another name for the service.
    #[tokio::test]
    async fn behind_a_proxy_a_page_of_a_public_name_acts_and_no_other() {
        let act = |host: &str, origin: &str, site: &str| {
            let request = Request::post("/act").header("host", host).header("origin", origin).header("sec-fetch-site", site);
            request.header("authorization", format!("Bearer {TOKEN}"))
        };
        let named = operators("0.0.0.0:1", Some(TOKEN));
        let unnamed = Operators::beside_the_routes().token(TOKEN).surface(None).routes;
        for (host, origin, site, expected) in [
            ("payment:8081", "https://shop.example", "same-origin", [200, 403]),
            ("payment:8081", "https://Shop.Example:8443", "same-origin", [200, 403]),
            ("shop.example", "https://shop.example", "same-origin", [200, 200]),
            ("payment:8081", "https://shop.example", "same-site", [403, 403]),
            ("payment:8081", "https://evil.example", "same-origin", [403, 403]),
            ("payment:8081", "https://shop.example.evil.example", "same-origin", [403, 403]),
            ("payment:8081", "https://shop.example@evil.example", "same-origin", [403, 403]),
            ("payment:8081", "null", "same-origin", [403, 403]),
        ] {
            let answers = [status(&named, act(host, origin, site)).await, status(&unnamed, act(host, origin, site)).await];
            assert_eq!(answers, expected, "{host} {origin} {site}");
        }
    }

    /// Accepts the name in a header as the operator.
    async fn authenticate(mut request: Request, next: Next) -> Response {
        match request.headers().get("x-user").and_then(|name| name.to_str().ok()).map(Operator::new) {
            Some(operator) if operator.name() == "mallory" => return StatusCode::FORBIDDEN.into_response(),
            Some(operator) => drop(request.extensions_mut().insert(operator)),
            None => {}
        }
        next.run(request).await
    }

    async fn who(operator: Option<Extension<Operator>>) -> String {
        by(operator, None).unwrap_or_else(|problem| problem.code().to_owned())
    }

    #[tokio::test]
    async fn a_layer_says_who_it_is() {
        let named = Operators::at("0.0.0.0:1").token(TOKEN).token_of("bob", "another-token-of-bob-alone");
        let access = named.layer(middleware::from_fn(authenticate)).surface(None).operators;
        let router = guarded(&"shop".into(), &access, Router::new().route("/who", get(who).post(who)));
        let ask = async |request: Builder| {
            let response = router.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 1_000).await.expect("a body");
            (status, String::from_utf8_lossy(&body).into_owned())
        };
        let told = |name: &str| (200, name.to_owned());
        assert_eq!(ask(Request::get("/who")).await.0, 401);
        assert_eq!(ask(Request::get("/who").header("x-user", "ada")).await, told("ada"));
        assert_eq!(ask(Request::get("/who").header("x-user", "mallory")).await.0, 403);
        // A name without visible characters counts as no operator.
        for empty in ["", "\t"] {
            assert_eq!(ask(Request::get("/who").header("x-user", empty)).await.0, 401, "{empty:?}");
        }
        let with = |token: &str| Request::post("/who").header("authorization", format!("Bearer {token}"));
        assert_eq!(ask(with("another-token-of-bob-alone")).await, told("bob"));
        assert_eq!(ask(with("another-token-of-bob-alone").header("x-user", "ada")).await, told("ada"));
        assert_eq!(ask(with(TOKEN)).await, told("VALIDATION_ERROR"));
        assert_eq!(ask(with(TOKEN).header("x-user", "")).await, told("VALIDATION_ERROR"));
        assert_eq!(ask(with("another-token-of-bob-alone").header("x-user", "")).await, told("bob"));
        assert_eq!(ask(with("mistaken-token-of-bob-alone")).await.0, 401);
        // A session does not protect from requests by pages of other sites either.
        let page = Request::post("/who").header("x-user", "ada").header("sec-fetch-site", "cross-site");
        assert_eq!(ask(page).await.0, 403);
    }

    #[test]
    fn what_a_request_says_is_no_other_than_who_sends_it() {
        let ada = || Some(Extension(Operator::new("ada")));
        let said = |name: &str| Some(name.to_owned());
        assert_eq!(by(ada(), None).as_deref(), Ok("ada"));
        assert_eq!(by(ada(), said("ada")).as_deref(), Ok("ada"));
        assert_eq!(by(None, said("bob")).as_deref(), Ok("bob"));
        for problem in [by(ada(), said("bob")), by(None, None)] {
            assert_eq!(problem.expect_err("refused").errors()[0].field, "by");
        }
    }
}
