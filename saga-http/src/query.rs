//! The query and the path parameters of a request.

use axum::{
    extract::{FromRequestParts, Path as AxumPath, RawPathParams, path::ErrorKind, rejection::PathRejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::{
    Problem,
    expected::{must_be, told},
    invalid, known,
};

/// The query of a request. An invalid value is answered 400 `VALIDATION_ERROR`, and `errors` names the parameter.
///
/// A parameter that is not a field of `T` is rejected too, except `page` and `size`, which [`Page`](super::Page) reads. A handler that
/// takes both takes the `Query` first. With `#[serde(deny_unknown_fields)]` on `T`, `page` and `size` are rejected as well. If the fields
/// of `T` are not fixed, as with a map or `#[serde(flatten)]`, any parameter is accepted.
///
/// ```
/// # use saga_http::{Listed, Page, Query};
/// #[derive(serde::Deserialize)]
/// struct Filter {
///     status: Option<String>,
/// }
///
/// async fn orders(Query(filter): Query<Filter>, page: Page) -> Listed<String> {
///     page.list(filter.status.into_iter().collect(), 1)
/// }
/// # let _: axum::Router = axum::Router::new().route("/orders", axum::routing::get(orders));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if parts.extensions.get::<known::PageFirst>().is_some() {
            return Err(Problem::internal(Misplaced(std::any::type_name::<T>())));
        }
        let query = parts.uri.query().unwrap_or_default();
        known::check::<T>(query)?;
        let value = parse(query)?;
        parts.extensions.insert(known::Checked);
        Ok(Self(value))
    }
}

/// A mistake in the service: the `Page` has already rejected the parameters of a `Query` that comes after it.
#[derive(Debug, thiserror::Error)]
#[error("a handler takes `Page` before `Query<{0}>`: take the `Query` first, so that `Page` accepts its parameters")]
struct Misplaced(&'static str);

pub(super) fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = serde_urlencoded::Deserializer::new(url_pairs(query));
    serde_path_to_error::deserialize(pairs)
        .map_err(|error| invalid::problem("query", &error.path().to_string(), &error.inner().to_string()))
}

fn url_pairs(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

/// The path parameters of a request: one value, a tuple, or a struct. An invalid value is answered 400 `VALIDATION_ERROR`, and `errors`
/// names the parameter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match AxumPath::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) if error.status().is_client_error() => {
                let names = RawPathParams::from_request_parts(parts, state)
                    .await
                    .map_or_else(|_| Vec::new(), |params| params.iter().map(|(name, _)| name.to_owned()).collect());
                let (name, message) = wrong_parameter(error.into_kind(), &names);
                Err(Problem::invalid_field(name, message))
            }
            // The route and the handler do not match, which is a mistake in the service.
            Err(error) => Err(Problem::internal(error)),
        }
    }
}

fn wrong_parameter(error: ErrorKind, names: &[String]) -> (String, String) {
    let at = |index: usize| names.get(index).cloned().unwrap_or_else(|| "path".to_owned());
    let only = || if names.len() == 1 { at(0) } else { "path".to_owned() };
    match error {
        ErrorKind::ParseErrorAtKey { key, expected_type, .. } => (key, must_be(expected_type)),
        ErrorKind::ParseErrorAtIndex { index, expected_type, .. } => (at(index), must_be(expected_type)),
        ErrorKind::ParseError { expected_type, .. } => (only(), must_be(expected_type)),
        ErrorKind::InvalidUtf8InPathParam { key } => (key, "is not UTF-8".to_owned()),
        ErrorKind::DeserializeError { key, message, .. } => (key, told(&message)),
        other => (only(), told(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::Request, routing::get};
    use http_body_util::BodyExt;
    use serde::Deserialize;
    use tower::ServiceExt;
    use uuid::Uuid;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Filter {
        customer_id: Option<String>,
        limit: Option<u32>,
    }

    #[test]
    fn a_query_is_read_by_name() {
        let filter: Filter = parse("customerId=a%20b+c&limit=5").expect("a filter");
        assert_eq!((filter.customer_id.as_deref(), filter.limit), (Some("a b c"), Some(5)));
        assert!(parse::<Filter>("").is_ok());
    }

    #[test]
    fn what_does_not_fit_names_its_parameter() {
        for (query, field) in [
            ("limit=x", "limit"),
            ("limit=-1", "limit"),
            ("limit=99999999999", "limit"),
            ("customer=1", "customer"),
            ("customerId=a&customerId=b", "customerId"),
        ] {
            let problem = parse::<Filter>(query).expect_err(query);
            assert_eq!((problem.code(), problem.errors()[0].field.as_str()), ("VALIDATION_ERROR", field), "{query}");
        }
    }

    #[tokio::test]
    async fn a_path_parameter_that_does_not_fit_is_named() {
        let router = Router::new()
            .route("/orders/{orderId}", get(async |Path(id): Path<Uuid>| id.to_string()))
            .route("/products/{productId}/{count}", get(async |Path((_, count)): Path<(String, u8)>| count.to_string()));
        for (uri, status, field) in [
            ("/orders/0190a8a0-0000-7000-8000-000000000000", 200, None),
            ("/orders/x", 400, Some("orderId")),
            ("/orders/%ff", 400, Some("orderId")),
            ("/products/tea/7", 200, None),
            ("/products/tea/300", 400, Some("count")),
        ] {
            let request = Request::get(uri).body(Body::empty()).expect("a request");
            let response = router.clone().oneshot(request).await.expect("an answer");
            assert_eq!(response.status().as_u16(), status, "{uri}");
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            if let Some(field) = field {
                let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                assert_eq!(
                    (&problem["code"], &problem["errors"][0]["field"]),
                    (&"VALIDATION_ERROR".into(), &field.into()),
                    "{uri}"
                );
            }
        }
    }
}
