//! Responses that many operations have, described once.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::{
    IntoResponses,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type, path::Operation,
        schema::AllOfBuilder,
    },
};

/// 404 `NOT_FOUND`: the resource in the path does not exist.
#[derive(Debug, Clone, Copy)]
pub struct NotFound;

/// 409 `CONFLICT`: the request conflicts with the present state.
#[derive(Debug, Clone, Copy)]
pub struct Conflict;

/// A response that every service can give.
pub(crate) struct Answer {
    /// The name among the components.
    pub(crate) name: &'static str,
    pub(crate) status: u16,
    pub(crate) codes: &'static [&'static str],
    description: &'static str,
    detail: &'static str,
    header: Option<(&'static str, Type, &'static str)>,
}

const RETRY_AFTER: (&str, Type, &str) = ("Retry-After", Type::Integer, "How many seconds to wait before the next try.");
const AUTHENTICATE: (&str, Type, &str) = ("WWW-Authenticate", Type::String, "`Bearer`");
const ALLOW: (&str, Type, &str) = ("Allow", Type::String, "The methods that the path supports, separated by commas.");

/// A JSON body, or a parameter, that is not valid.
pub(crate) const BAD_REQUEST: Answer = Answer {
    name: "BadRequest",
    status: 400,
    codes: &["BAD_REQUEST", "MALFORMED_JSON", "VALIDATION_ERROR"],
    description: "The body is no JSON, or a field or parameter does not fit; `errors` names it.",
    detail: "the body does not fit: quantity: must be from 1 to 1000",
    header: None,
};
/// An incomplete body, on an operation that takes no body.
pub(crate) const BROKEN: Answer = Answer {
    name: "Broken",
    status: 400,
    codes: &["BAD_REQUEST"],
    description: "The body broke off.",
    detail: "the body broke off",
    header: None,
};
/// A parameter that is not valid.
pub(crate) const INVALID: Answer = Answer {
    name: "Invalid",
    status: 400,
    codes: &["BAD_REQUEST", "VALIDATION_ERROR"],
    description: "A parameter does not fit, or is not known; `errors` names it.",
    detail: "the query does not fit: size: must be a whole number from 1 to 500",
    header: None,
};
/// A request without the credential of an operator.
pub(crate) const UNAUTHORIZED: Answer = Answer {
    name: "Unauthorized",
    status: 401,
    codes: &["UNAUTHORIZED"],
    description: "The path is for operators, and the request has no credential of one: a token, or what the service's own authentication requires.",
    detail: "this is for operators: send an operator's token in `Authorization: Bearer`",
    header: Some(AUTHENTICATE),
};
/// A request that an operator's browser sent for a page of another site.
pub(crate) const FORBIDDEN: Answer = Answer {
    name: "Forbidden",
    status: 403,
    codes: &["FORBIDDEN"],
    description: "A page of another site has sent this, or it is a form.",
    detail: "a page of another site has sent this; send JSON or no body, from a program or from a page of this service",
    header: None,
};
const NOT_FOUND: Answer = Answer {
    name: "NotFound",
    status: 404,
    codes: &["NOT_FOUND"],
    description: "The resource does not exist.",
    detail: "there is nothing at this path",
    header: None,
};
const METHOD_NOT_ALLOWED: Answer = Answer {
    name: "MethodNotAllowed",
    status: 405,
    codes: &["METHOD_NOT_ALLOWED"],
    description: "The path does not support this method.",
    detail: "this resource does not support this method; `Allow` names those that it supports",
    header: Some(ALLOW),
};
pub(crate) const REQUEST_TIMEOUT: Answer = Answer {
    name: "RequestTimeout",
    status: 408,
    codes: &["REQUEST_TIMEOUT"],
    description: "The body did not arrive in time.",
    detail: "the body did not arrive in time",
    header: None,
};
const CONFLICT: Answer = Answer {
    name: "Conflict",
    status: 409,
    codes: &["CONFLICT"],
    description: "The request does not fit the present state.",
    detail: "the request does not fit the present state",
    header: None,
};
pub(crate) const PAYLOAD_TOO_LARGE: Answer = Answer {
    name: "PayloadTooLarge",
    status: 413,
    codes: &["PAYLOAD_TOO_LARGE"],
    description: "The body is larger than 1 MiB.",
    detail: "the body is larger than 1048576 bytes",
    header: None,
};
/// A request from this machine for a host name that is neither this machine's nor the service's.
pub(crate) const MISDIRECTED: Answer = Answer {
    name: "Misdirected",
    status: 421,
    codes: &["MISDIRECTED_REQUEST"],
    description: "`Host` names neither this machine nor the service.",
    detail: "this is for operators on this machine: ask for `localhost`, a loopback address, or a public name of the service",
    header: None,
};
pub(crate) const UNSUPPORTED_MEDIA_TYPE: Answer = Answer {
    name: "UnsupportedMediaType",
    status: 415,
    codes: &["UNSUPPORTED_MEDIA_TYPE"],
    description: "The body is not sent as JSON.",
    detail: "send the body as JSON, with Content-Type: application/json",
    header: None,
};
pub(crate) const INTERNAL: Answer = Answer {
    name: "Internal",
    status: 500,
    codes: &["INTERNAL"],
    description: "The request failed inside the service; the service's log has the cause.",
    detail: "the request failed inside the service; the service's log has the cause",
    header: None,
};
pub(crate) const UNAVAILABLE: Answer = Answer {
    name: "Unavailable",
    status: 503,
    codes: &["UNAVAILABLE"],
    description: "The service cannot take work now.",
    detail: "the service cannot take work now; try again later",
    header: Some(RETRY_AFTER),
};

/// All of these responses.
pub(crate) const ALL: [Answer; 14] = [
    BAD_REQUEST,
    BROKEN,
    INVALID,
    UNAUTHORIZED,
    FORBIDDEN,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    CONFLICT,
    PAYLOAD_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    MISDIRECTED,
    INTERNAL,
    UNAVAILABLE,
];

impl Answer {
    pub(crate) fn response(&self) -> Response {
        let mut response = described(self.status, self.description, self.codes, self.detail);
        if let Some((name, kind, description)) = &self.header {
            let schema = ObjectBuilder::new().schema_type(kind.clone());
            let header = HeaderBuilder::new().schema(schema).description(Some(*description)).build();
            response.headers.insert((*name).to_owned(), header);
        }
        response
    }

    pub(crate) fn reference(&self) -> Value {
        json!({"$ref": format!("#/components/responses/{}", self.name)})
    }

    /// Adds this response to those of `operation`.
    pub(crate) fn add_to(&self, operation: &mut Operation) {
        operation.responses.responses.insert(self.status.to_string(), Ref::from_response_name(self.name).into());
    }

    fn responses(&self) -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([(self.status.to_string(), Ref::from_response_name(self.name).into())])
    }
}

impl IntoResponses for NotFound {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        NOT_FOUND.responses()
    }
}

impl IntoResponses for Conflict {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        CONFLICT.responses()
    }
}

/// Returns a response with a [`Problem`](crate::Problem) whose code is one of `codes`, for your own implementation of
/// `IntoResponses`.
///
/// ```
/// # use saga_http::openapi;
/// # use std::collections::BTreeMap;
/// # use utoipa::openapi::{RefOr, Response};
/// /// 409 `TOO_LATE`.
/// struct TooLate;
///
/// impl utoipa::IntoResponses for TooLate {
///     fn responses() -> BTreeMap<String, RefOr<Response>> {
///         let answer = openapi::problem(409, &["TOO_LATE"], "The order is on its way.");
///         BTreeMap::from([("409".to_owned(), answer.into())])
///     }
/// }
/// ```
pub fn problem(status: u16, codes: &[&str], description: &str) -> Response {
    described(status, description, codes, description)
}

fn described(status: u16, description: &str, codes: &[&str], detail: &str) -> Response {
    let this = ObjectBuilder::new()
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status])))
        .property("code", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes.iter().copied())));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(this);
    let title = axum::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
    let code = codes.last().copied().unwrap_or_default();
    let example = json!({"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code});
    let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}
