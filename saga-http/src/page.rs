//! Lists in pages.

use axum::{
    extract::{FromRequestParts, OriginalUri},
    http::{HeaderName, HeaderValue, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    Json, Problem,
    query::{self, Checked, PageFirst, Parsed},
};

/// The number of items on a page by default.
const DEFAULT_SIZE: u32 = 50;
/// The maximum number of items on a page.
const MAX_SIZE: u32 = 500;

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// The requested part of a list: `?page=0&size=50`.
///
/// Pages count from 0. A page has 1 to 500 items, 50 by default. Other values are answered 400 `VALIDATION_ERROR`. So is any other
/// parameter, unless a [`Query`](super::Query) before the page has a field for it. A `Query` after the page makes every request fail with
/// 500, and the log explains how to correct the handler.
///
/// ```
/// # use saga_http::{Page, Problem, Listed};
/// async fn orders(page: Page) -> Result<Listed<String>, Problem> {
///     let (items, total) = (vec!["tea".to_owned()], 1); // LIMIT page.limit() OFFSET page.offset()
///     Ok(page.list(items, total))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    number: u64,
    size: u32,
    uri: Uri,
}

impl Page {
    /// Returns the page that `uri` requests, which must be a valid one.
    #[cfg(all(test, feature = "sqlx"))]
    pub(crate) fn at(uri: Uri) -> Self {
        parse(uri).expect("a page").0
    }

    /// Returns the number of items before the page.
    pub fn offset(&self) -> u64 {
        self.number.saturating_mul(u64::from(self.size))
    }

    /// Returns the maximum number of items on the page.
    pub fn limit(&self) -> u32 {
        self.size
    }

    /// Returns the response: `items` as a JSON array, with `X-Total-Count` and, unless this is the last page, `Link: <…>; rel="next"`.
    /// `total` is the number of items on all pages.
    pub fn list<T>(&self, items: Vec<T>, total: u64) -> Listed<T> {
        Listed { items, total, next: self.next(total) }
    }

    /// Returns the URI of the next page: that of this page with another `page`.
    fn next(&self, total: u64) -> Option<HeaderValue> {
        let number = self.number.checked_add(1)?;
        (number.checked_mul(u64::from(self.size))? < total).then_some(())?;
        let others = self.uri.query().unwrap_or_default().split('&').filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !pair.is_empty() && name != "page" && name != "size"
        });
        let query: String = others.map(|pair| format!("{pair}&")).collect();
        let link = format!("<{}?{query}page={number}&size={}>; rel=\"next\"", self.uri.path(), self.size);
        HeaderValue::try_from(link).ok()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // In a nested router, the URI of the request does not have its prefix.
        let uri = match OriginalUri::from_request_parts(parts, state).await {
            Ok(OriginalUri(uri)) => uri,
            Err(never) => match never {},
        };
        let (page, unknown) = parse(uri)?;
        if parts.extensions.get::<Checked>().is_none() {
            query::reject(unknown)?;
            parts.extensions.insert(PageFirst);
        }
        Ok(page)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::IntoParams for Page {
    fn into_params(_: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>) -> Vec<utoipa::openapi::path::Parameter> {
        super::schema::page(DEFAULT_SIZE, MAX_SIZE, i64::MAX / i64::from(MAX_SIZE))
    }
}

/// Returns the page, and a parameter that it does not have.
fn parse(uri: Uri) -> Result<(Page, Option<String>), Problem> {
    #[derive(Deserialize)]
    struct Asked {
        page: Option<String>,
        size: Option<String>,
    }

    let Parsed { value: asked, unknown } = query::parse::<Asked>(uri.query().unwrap_or_default())?;
    let number = asked.page.map_or(Ok(0), |page| page.parse());
    let number = number.ok().filter(|number| i64::try_from(*number).is_ok_and(|number| number <= i64::MAX / i64::from(MAX_SIZE)));
    let number = number.ok_or_else(|| Problem::invalid_field("page", "must be a whole number of at least 0"))?;
    let size = asked.size.map_or(Ok(DEFAULT_SIZE), |size| size.parse());
    let size = size.ok().filter(|size| (1..=MAX_SIZE).contains(size));
    let size = size.ok_or_else(|| Problem::invalid_field("size", format!("must be a whole number from 1 to {MAX_SIZE}")))?;
    Ok((Page { number, size, uri }, unknown))
}

/// One page of a list, created by [`Page::list`].
#[derive(Debug, Clone)]
pub struct Listed<T> {
    items: Vec<T>,
    total: u64,
    next: Option<HeaderValue>,
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.items).into_response();
        if response.status().is_success() {
            response.headers_mut().insert(TOTAL_COUNT, HeaderValue::from(self.total));
            if let Some(next) = self.next {
                response.headers_mut().insert(header::LINK, next);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::Request, routing::get};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::Query;

    fn page(uri: &'static str) -> Result<Page, Problem> {
        parse(Uri::from_static(uri)).map(|(page, _)| page)
    }

    #[test]
    fn a_page_is_a_window() {
        for (uri, offset, limit) in [
            ("/orders", 0, 50),
            ("/orders?page=0&size=1", 0, 1),
            ("/orders?size=500&page=3", 1_500, 500),
            ("/orders?page=18446744073709551&size=500", 9_223_372_036_854_775_500, 500),
        ] {
            let page = page(uri).expect(uri);
            assert_eq!((page.offset(), page.limit()), (offset, limit), "{uri}");
        }
    }

    #[test]
    fn what_is_no_page_is_named() {
        for (uri, field) in [
            ("/?page=-1", "page"),
            ("/?page=x", "page"),
            ("/?page=", "page"),
            ("/?page=99999999999999999999", "page"),
            ("/?page=9223372036854775807", "page"),
            ("/?page=1&page=2", "page"),
            ("/?size=0", "size"),
            ("/?size=501", "size"),
            ("/?size=1.5", "size"),
        ] {
            let problem = page(uri).expect_err(uri);
            assert_eq!((problem.code(), problem.errors()[0].field.as_str()), ("VALIDATION_ERROR", field), "{uri}");
        }
    }

    #[tokio::test]
    async fn a_page_knows_what_the_query_before_it_knows() {
        #[derive(Deserialize)]
        struct Filter {
            status: Option<String>,
        }
        let filtered = async |Query(filter): Query<Filter>, page: Page| page.list(filter.status.into_iter().collect(), 1);
        let routes = Router::new().route("/all", get(async |page: Page| page.list(vec![1], 1))).route("/some", get(filtered));
        let router = Router::new().nest("/api", routes);
        for (uri, blamed) in [
            ("/api/all", None),
            ("/api/all?page=0&size=1", None),
            ("/api/all?status=NEW", Some("status")),
            ("/api/some?status=NEW&size=1&page=0", None),
            ("/api/some?statuss=NEW", Some("statuss")),
            ("/api/some?size=0", Some("size")),
        ] {
            let request = Request::get(uri).body(Body::empty()).expect("a request");
            let response = router.clone().oneshot(request).await.expect("an answer");
            assert_eq!(response.status().as_u16(), if blamed.is_some() { 400 } else { 200 }, "{uri}");
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["errors"][0]["field"].as_str(), blamed, "{uri}");
        }
    }

    #[tokio::test]
    async fn a_query_behind_the_page_fails_the_first_request() {
        #[derive(Deserialize)]
        struct Filter {
            status: Option<String>,
        }
        let wrong = async |page: Page, Query(filter): Query<Filter>| page.list(filter.status.into_iter().collect(), 1);
        let router = Router::new().route("/orders", get(wrong));
        let request = Request::get("/orders").body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("an answer");
        assert_eq!(response.status().as_u16(), 500, "also without a query");
    }

    #[test]
    fn the_next_page_keeps_the_rest_of_the_query() {
        let response =
            page("/orders?customerId=a%20b&page=1&size=2&status=X").expect("a page").list(vec![1, 2], 5).into_response();
        assert_eq!(response.headers()["x-total-count"], "5");
        assert_eq!(response.headers()["link"], "</orders?customerId=a%20b&status=X&page=2&size=2>; rel=\"next\"");
    }

    #[test]
    fn the_last_page_has_no_next() {
        for (uri, total) in [("/?page=1&size=2", 4), ("/?page=0&size=2", 0), ("/?page=7&size=2", 4)] {
            let response = page(uri).expect(uri).list(Vec::<u8>::new(), total).into_response();
            assert!(!response.headers().contains_key("link"), "{uri}");
        }
    }
}
