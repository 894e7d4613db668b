//! What is for operators only: routes that read messages or act.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

use super::Problem;
use crate::runtime::{Operators, ServiceHandle};

/// `routes` for the [operators](ServiceHandle::operators) of `service` only: without the token, where one is needed, they answer 401;
/// where there are no operators, none of them is left. A request that changes something and that a page of another site has sent is
/// answered 403. On a loopback address one that asks in `Host` neither for such an address nor for `localhost` nor for the service's
/// [`public_name`](crate::runtime::Service::public_name) is answered 421, unless it has the token: a page of another site whose name was made to
/// stand for that address sends such.
///
/// The framework's own are served so by [`service_routes`](super::service_routes); a service does it with its own:
///
/// ```
/// # use axum::{Router, routing::get};
/// # use saga_core::{http::operators_only, runtime::ServiceHandle};
/// fn routes(service: ServiceHandle) -> Router {
///     let switches = Router::new().route("/switches", get(async || "all off"));
///     Router::new().route("/hello", get(async || "hello")).merge(operators_only(&service, switches))
/// }
/// ```
///
/// With the feature `openapi` it takes an `OpenApiRouter` too, and says in its description what operators send.
pub fn operators_only<R: OperatedRoutes>(service: &ServiceHandle, routes: R) -> R {
    routes.only(service.operators())
}

/// What [`operators_only`] takes: an axum [`Router`], or an `OpenApiRouter`.
pub trait OperatedRoutes: sealed::Sealed {
    /// These routes for `operators` only.
    #[doc(hidden)]
    #[must_use]
    fn only(self, operators: &Operators) -> Self;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for axum::Router {}
    #[cfg(feature = "openapi")]
    impl Sealed for utoipa_axum::router::OpenApiRouter {}
}

impl OperatedRoutes for Router {
    fn only(self, operators: &Operators) -> Self {
        only(operators, self)
    }
}

#[cfg(feature = "openapi")]
impl OperatedRoutes for utoipa_axum::router::OpenApiRouter {
    fn only(self, operators: &Operators) -> Self {
        let (router, description) = self.split_for_parts();
        let mut guarded = Self::from(only(operators, router));
        *guarded.get_openapi_mut() = super::openapi::operated(operators, description);
        guarded
    }
}

fn only(operators: &Operators, routes: Router) -> Router {
    match operators.exist() {
        false => Router::new(),
        true if !routes.has_routes() => routes,
        true => routes.route_layer(middleware::from_fn_with_state(operators.clone(), guarded)),
    }
}

async fn guarded(State(operators): State<Operators>, request: Request, next: Next) -> Response {
    let token = bearer(request.headers());
    if !operators.admit(token) {
        let detail = "this is for operators: send the operator's token in `Authorization: Bearer`";
        let mut response = Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", detail).into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    if !named(&request).all(|name| operators.ask_for(name, token)) {
        let detail =
            "this is for operators on this machine: ask for `localhost`, a loopback address, or a public name of the service";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "MISDIRECTED_REQUEST", detail).into_response();
    }
    if acts(request.method()) && from_another_site(request.headers()) {
        let detail = "a page of another site has sent this; send JSON or no body, from a program or from a page of this service";
        return Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail).into_response();
    }
    next.run(request).await
}

/// The hosts that the request asks for, each with its port; `None` for one that is no text. A browser always names one.
fn named(request: &Request) -> impl Iterator<Item = Option<&str>> {
    let target = request.uri().authority().map(|authority| Some(authority.as_str()));
    target.into_iter().chain(request.headers().get_all(header::HOST).iter().map(|host| host.to_str().ok()))
}

fn acts(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser may have sent this for a page that is not ours: it says so, or it is a form, which it sends without asking.
fn from_another_site(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let form = headers.get_all(header::CONTENT_TYPE).iter().any(|value| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let forms: [&[u8]; 3] = [b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain"];
        forms.iter().any(|form| kind.eq_ignore_ascii_case(form))
    });
    let fetched = headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let origin = headers.contains_key(header::ORIGIN)
        && match (text(header::ORIGIN).and_then(|origin| Some(origin.split_once("://")?.1)), text(header::HOST)) {
            (Some(origin), Some(host)) => !origin.eq_ignore_ascii_case(host),
            _ => true,
        };
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

    const TOKEN: &str = "a-token-of-thirty-two-characters";

    fn operators(address: &str, token: Option<&str>) -> Operators {
        Operators::at(Some(address.parse().expect("an address")), token, vec!["shop.example".to_owned()])
    }

    async fn status(operators: &Operators, request: Builder) -> u16 {
        let routes = Router::new().route("/letters", get(async || "read")).route("/act", post(async || "done"));
        let router = Router::new().route("/open", get(async || "open")).merge(only(operators, routes));
        let response = router.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
        response.status().as_u16()
    }

    #[tokio::test]
    async fn a_loopback_address_is_open() {
        for address in ["127.0.0.1:1", "127.8.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            for token in [None, Some(TOKEN)] {
                let operators = operators(address, token);
                assert!(operators.exist() && !operators.need_a_token(), "{address}");
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
}
