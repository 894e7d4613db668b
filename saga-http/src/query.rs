//! The query and the path parameters of a request.

use axum::{
    extract::{FromRequestParts, Path as AxumPath, RawPathParams, path::ErrorKind, rejection::PathRejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::{Problem, invalid};

/// The parameters that [`Page`](super::Page) reads.
const PAGE: [&str; 2] = ["page", "size"];

/// Request extension: a [`Query`] has rejected the unknown parameters.
#[derive(Clone, Copy)]
pub(super) struct Checked;

/// Request extension: a [`Page`](super::Page) has rejected the unknown parameters, before a [`Query`] could read further ones.
#[derive(Clone, Copy)]
pub(super) struct PageFirst;

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
        if parts.extensions.get::<PageFirst>().is_some() {
            return Err(Problem::internal(Misplaced(std::any::type_name::<T>())));
        }
        let Parsed { value, unknown } = parse(parts.uri.query().unwrap_or_default())?;
        reject(unknown)?;
        parts.extensions.insert(Checked);
        Ok(Self(value))
    }
}

/// A mistake in the service: the `Page` has already rejected the parameters of a `Query` that comes after it.
#[derive(Debug, thiserror::Error)]
#[error("a handler takes `Page` before `Query<{0}>`: take the `Query` first, so that `Page` accepts its parameters")]
struct Misplaced(&'static str);

/// What was read of a query.
#[derive(Debug)]
pub(super) struct Parsed<T> {
    pub(super) value: T,
    /// The first parameter that neither the value nor a page has.
    pub(super) unknown: Option<String>,
}

pub(super) fn parse<T: DeserializeOwned>(query: &str) -> Result<Parsed<T>, Problem> {
    let mut unknown = None;
    let mut ignored = |path: serde_ignored::Path<'_>| {
        let name = path.to_string();
        if unknown.is_none() && !PAGE.contains(&name.as_str()) {
            unknown = Some(name);
        }
    };
    let pairs = serde_urlencoded::Deserializer::new(url_pairs(query));
    let value = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(pairs, &mut ignored))
        .map_err(|error| invalid::problem("query", &error.path().to_string(), &error.inner().to_string()))?;
    Ok(Parsed { value, unknown })
}

/// Returns an error if there is an `unknown` parameter.
pub(super) fn reject(unknown: Option<String>) -> Result<(), Problem> {
    unknown.map_or(Ok(()), |name| Err(invalid::field("query", &name, "is not known".to_owned())))
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
    let of_type = |expected: &str| format!("must be of type {expected}");
    match error {
        ErrorKind::ParseErrorAtKey { key, expected_type, .. } => (key, of_type(expected_type)),
        ErrorKind::ParseErrorAtIndex { index, expected_type, .. } => (at(index), of_type(expected_type)),
        ErrorKind::ParseError { expected_type, .. } => (only(), of_type(expected_type)),
        ErrorKind::InvalidUtf8InPathParam { key } => (key, "is not UTF-8".to_owned()),
        ErrorKind::DeserializeError { key, message, .. } => (key, message),
        other => (only(), other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
        let filter = parse::<Filter>("customerId=a%20b+c&limit=5").expect("a filter").value;
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

    /// Returns what is wrong with `query` as that of a handler without a page.
    fn check<T: DeserializeOwned>(query: &str) -> Result<(), Problem> {
        reject(parse::<T>(query)?.unknown)
    }

    #[test]
    fn what_is_not_known_is_named() {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[expect(dead_code, reason = "the test only uses the names of its fields")]
        struct Filter {
            #[serde(alias = "customer")]
            customer_id: Option<String>,
            size: Option<String>,
        }

        for query in ["", "customerId=a", "customer=a&size=x&page=2", "&&", "customer%49d=a"] {
            assert_eq!(check::<Filter>(query), Ok(()), "{query}");
        }
        for (query, name) in [("customerid=a", "customerid"), ("page=1&x%20y", "x y"), ("=1", "query"), ("Page=1", "Page")] {
            let problem = check::<Filter>(query).expect_err(query);
            let [error] = problem.errors() else { panic!("{query}: {:?}", problem.errors()) };
            let told = (problem.code(), error.field.as_str(), error.message.as_str());
            assert_eq!(told, ("VALIDATION_ERROR", name, "is not known"), "{query}");
        }
        let problem = check::<Filter>(&"x".repeat(100_000)).expect_err("not known");
        assert!(problem.detail().len() < 1_000, "a long name comes back in part: {}", problem.detail().len());
    }

    #[test]
    fn what_has_no_fields_of_its_own_knows_all() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "the test only uses the names of its fields")]
        struct Part {
            status: Option<String>,
        }
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "the test only checks whether it deserializes")]
        struct Flat {
            #[serde(flatten)]
            part: Part,
        }
        for check in [check::<HashMap<String, String>>, check::<Flat>, check::<Vec<(String, String)>>] {
            assert_eq!(check("anything=1"), Ok(()));
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
