//! Errors over HTTP, as RFC 9457 problem details.

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use saga_core::{
    failure::Fault,
    runtime::Unavailable,
    store::{StoreError, can_succeed_later},
};
use serde::Serialize;

/// The `Retry-After` of an unavailable service.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An error response for the client: `application/problem+json` with `type`, `title`, `status`, `detail`, a stable `code` for programs, and
/// `errors` if fields of the request are invalid.
///
/// A handler returns `Result<_, Problem>`. A problem contains no internals: [`Problem::internal`] and the conversions from database errors
/// log them and do not send them to the client.
///
/// ```
/// # use saga_http::Problem;
/// # use axum::response::IntoResponse;
/// let problem = Problem::validation("the order cannot be placed").field("items[0].quantity", "must be at least 1");
/// assert_eq!(problem.code(), "VALIDATION_ERROR");
/// assert_eq!(problem.into_response().status(), 400);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

/// The error of one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct FieldError {
    /// The field, as a path: `items[0].quantity`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    /// Creates a problem with your own code, in capitals: `"TOO_LATE"`.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// 400 `VALIDATION_ERROR`: the request is well-formed, but a value is invalid.
    pub fn validation(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", detail)
    }

    /// 400 `VALIDATION_ERROR` for one field.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        Self::validation(format!("{field}: {message}")).field(field, message)
    }

    /// 400 `MALFORMED_JSON`: the body is not JSON.
    pub fn malformed_json(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MALFORMED_JSON", detail)
    }

    /// 404 `NOT_FOUND`.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", detail)
    }

    /// 405 `METHOD_NOT_ALLOWED`. The router adds `Allow`.
    pub fn method_not_allowed() -> Self {
        let detail = "this resource does not support this method; `Allow` names those that it supports";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
    }

    /// 408 `REQUEST_TIMEOUT`: the request did not arrive in time.
    pub fn request_timeout(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", detail)
    }

    /// 409 `CONFLICT`: the request conflicts with the present state.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", detail)
    }

    /// 413 `PAYLOAD_TOO_LARGE`, with the limit in bytes.
    pub fn payload_too_large(limit_bytes: usize) -> Self {
        let detail = format!("the body is larger than {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", detail)
    }

    /// 415 `UNSUPPORTED_MEDIA_TYPE`.
    pub fn unsupported_media_type(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail)
    }

    /// 500 `INTERNAL`. Logs `error`; the client does not get it.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL",
            "the request failed inside the service; the service's log has the cause",
        )
    }

    /// 503 `UNAVAILABLE` with `Retry-After`: the service cannot accept work now. Logs `error`; the client does not get it.
    pub fn unavailable(error: impl std::fmt::Display) -> Self {
        tracing::warn!(%error, "request refused: unavailable");
        let detail = "the service cannot take work now; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", detail).retry_after(RETRY_AFTER)
    }

    /// Adds the error of a field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
        self
    }

    /// Adds the header `Retry-After` with `wait`, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the code for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the description for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns the errors of the fields.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }
}

/// The serialized form of a problem.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Problem))]
pub(super) struct Body<'a> {
    /// The type of the problem: `about:blank`, which means that `title` is that of the status.
    #[cfg_attr(feature = "openapi", schema(format = "uri-reference", example = "about:blank"))]
    r#type: &'static str,
    /// The name of the status.
    #[cfg_attr(feature = "openapi", schema(example = "Bad Request"))]
    title: &'static str,
    /// The status.
    #[cfg_attr(feature = "openapi", schema(minimum = 400, maximum = 599))]
    status: u16,
    /// What is wrong, in one sentence for people.
    detail: &'a str,
    /// What is wrong, for programs. A code does not change.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Z][A-Z0-9_]*$", example = "VALIDATION_ERROR"))]
    code: &'a str,
    /// The invalid fields or parameters, if there are any.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "openapi", schema(required = false, min_items = 1))]
    errors: &'a [FieldError],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: &self.code,
            errors: &self.errors,
        })
        // It consists of strings and a number, so serialization cannot fail.
        .unwrap_or_default();
        let mut response = (self.status, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(error)
    }
}

/// 503 if the database is unavailable or has cancelled the statement, for example because a row was locked for too long, and 500 for any other
/// error.
impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        if can_succeed_later(fault.error()) { Self::unavailable(fault) } else { Self::internal(fault) }
    }
}

/// 503 if the database is unavailable or has cancelled the statement, and 500 for any other error, such as a constraint that the commit breaks.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Fault::from(error).into()
    }
}

/// 503 if the database is unavailable or has cancelled the statement, and 500 for any other error, for example an invalid statement. A missing row and a value that exists
/// already are 500 too. If the client's request caused them, the handler returns [`Problem::not_found`] or [`Problem::conflict`].
#[cfg(feature = "sqlx")]
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Fault::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use saga_core::{
        runtime::Service,
        store::Database,
        testing::{
            Pump,
            faulty::{FaultyStore, StoreCall, StoreFault, StoreFaults, StoreOperation},
        },
        time::Clock,
    };

    use super::*;

    async fn json(problem: Problem) -> serde_json::Value {
        let body = problem.into_response().into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&body).expect("JSON")
    }

    #[tokio::test]
    async fn it_reads_as_problem_details() {
        let problem = Problem::validation("no").field("items[0].quantity", "must be at least 1");
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "no", "code": "VALIDATION_ERROR",
            "errors": [{"field": "items[0].quantity", "message": "must be at least 1"}],
        });
        assert_eq!(json(problem).await, expected);
        let response = Problem::not_found("no such order").into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[tokio::test]
    async fn no_field_at_fault_no_errors() {
        assert_eq!(json(Problem::conflict("too late")).await.get("errors"), None);
    }

    /// What a service answers whose database says `reason`.
    async fn unavailable(reason: &'static str) -> Unavailable {
        let store = FaultyStore::new(&Database::memory(), StoreFaults::default(), 1, Clock::system());
        let pump = Pump::of([Service::new("shop", store.database())]).start().await;
        let begins = |call: &StoreCall| call.operation == StoreOperation::Begin;
        store.script(move |call| begins(call).then(|| StoreFault::Error(StoreError::Refused(reason.to_owned()))));
        let unavailable = pump.service("shop").begin().await.expect_err("the database refuses it");
        store.clear();
        pump.stop().await;
        unavailable
    }

    #[tokio::test]
    async fn internals_stay_inside() {
        let unavailable = unavailable("secret").await;
        assert!(unavailable.to_string().contains("secret"));
        for problem in [
            Problem::internal("password=secret"),
            Problem::from(StoreError::Unavailable("/secret/path.db is locked".to_owned())),
            Problem::from(unavailable),
            Problem::from(Fault::new("the secret")),
        ] {
            assert!(!json(problem).await.to_string().contains("secret"));
        }
    }

    #[cfg(feature = "sqlx")]
    #[test]
    fn only_what_may_pass_is_to_be_asked_again() {
        let away = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        for (problem, status) in [
            (Problem::from(sqlx::Error::PoolTimedOut), 503),
            (Problem::from(sqlx::Error::Io(away())), 503),
            (Problem::from(sqlx::Error::RowNotFound), 500),
            (Problem::from(Fault::from(sqlx::Error::Io(away()))), 503),
            (Problem::from(Fault::from(StoreError::Unavailable("locked".to_owned()))), 503),
            (Problem::from(Fault::from(StoreError::Statement("it waited for a row".to_owned()))), 503),
            (Problem::from(Fault::from(StoreError::Contended("a deadlock".to_owned()))), 503),
            (Problem::from(Fault::from(StoreError::Refused("a syntax error".to_owned()))), 500),
            (Problem::from(StoreError::Contended("a deadlock".to_owned())), 503),
            (Problem::from(StoreError::Refused("a constraint".to_owned())), 500),
            (Problem::from(Fault::from(away())), 500),
            (Problem::from(Fault::new("a rule is broken")), 500),
        ] {
            assert_eq!(problem.status(), status, "{problem:?}");
        }
    }

    #[test]
    fn unavailable_says_when_to_come_back() {
        let response = Problem::from(StoreError::Unavailable("locked".to_owned())).into_response();
        assert_eq!((response.status().as_u16(), &response.headers()[header::RETRY_AFTER]), (503, &HeaderValue::from(2)));
        let response = Problem::unavailable("busy").retry_after(Duration::from_millis(2_001)).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }
}
