//! JSON request and response bodies.

use axum::{
    body::Bytes,
    extract::{FromRequest, OptionalFromRequest, Request, rejection::BytesRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{Problem, invalid, limits::MAX_BODY_BYTES, objects::Objects};

/// A JSON body, in a request or a response. Unlike axum's `Json`, it answers an invalid body with a [`Problem`] that names the field:
///
/// | request | answer |
/// |---|---|
/// | the `Content-Type` is not `application/json` (or `…+json`) | 415 `UNSUPPORTED_MEDIA_TYPE` |
/// | the body is empty or not JSON | 400 `MALFORMED_JSON` |
/// | the JSON has a wrong type, a missing or unknown field, or an array for a struct | 400 `VALIDATION_ERROR`; `errors` names the field |
/// | the body is larger than the limit | 413 `PAYLOAD_TOO_LARGE` |
///
/// Unknown fields are only rejected if `T` has `#[serde(deny_unknown_fields)]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers().get(header::CONTENT_TYPE)) {
            return Err(Problem::unsupported_media_type("send the body as JSON, with Content-Type: application/json"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        parse(&bytes).map(Self)
    }
}

/// An optional body: `None` if it is empty.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let json = is_json(request.headers().get(header::CONTENT_TYPE));
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        if !json {
            return Err(Problem::unsupported_media_type("send the body as JSON, with Content-Type: application/json"));
        }
        parse(&bytes).map(|value| Some(Self(value)))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response(),
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let Some(content_type) = content_type.and_then(|value| value.to_str().ok()) else { return false };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn unreadable(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::payload_too_large(MAX_BODY_BYTES),
        _ => Problem::malformed_json("the body broke off"),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::malformed_json("the body is empty; send a JSON value"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Objects(&mut json)).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.into_inner());
        let message = error.to_string();
        // Two kinds of errors concern well-formed JSON, but serde_json reports them as syntax errors: a number out of range, and a value
        // other than text for a variant of an enum.
        let syntax_of_ours = ["number out of range", "expected value"];
        let fits_not = error.is_data() || syntax_of_ours.iter().any(|start| message.starts_with(start));
        // Deserializing stops at the first value that does not fit, so the rest may still be malformed.
        match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) if fits_not => invalid::problem("body", &path, without_position(&message)),
            Ok(_) => malformed(&error),
            Err(error) => malformed(&error),
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::malformed_json(format!("the body is no JSON: {error}"))
}

/// Removes the position from the message, because the name of the field is more useful than line and column.
fn without_position(message: &str) -> &str {
    match message.rfind(" at line ").map_or(message, |end| &message[..end]) {
        "expected value" => "is not one of the words expected",
        message => message,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "the test only checks whether it deserializes")]
    struct Order {
        customer_id: String,
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the test only checks whether it deserializes")]
    struct Item {
        quantity: u32,
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let deep = "[".repeat(100_000);
        for body in [
            "",
            "  ",
            "{",
            r#"{"customerId": 1"#,
            "nonsense",
            r#"{"customerId": "c", "items": []} x"#,
            "{\"customerId\": \"\u{0}\"}",
            &deep,
        ] {
            let problem = parse::<Order>(body.as_bytes()).expect_err(body);
            assert_eq!((problem.status().as_u16(), problem.code()), (400, "MALFORMED_JSON"), "{body:.40}: {}", problem.detail());
        }
        assert_eq!(parse::<Order>(b"{\"customerId\": \"\xff\"}").expect_err("not UTF-8").code(), "MALFORMED_JSON");
    }

    #[test]
    fn what_does_not_fit_names_its_field() {
        for (body, field, message) in [
            (r#"{"items": []}"#, "customerId", "is missing"),
            (r#"{"customerId": 1, "items": []}"#, "customerId", "invalid type: integer `1`, expected a string"),
            (
                r#"{"customerId": "c", "items": [], "coupon": 1}"#,
                "coupon",
                "is not known; the known ones are `customerId`, `items`",
            ),
            (
                r#"{"customerId": "c", "items": [{"quantity": 1, "x": 1}]}"#,
                "items[0].x",
                "is not known; the only known one is `quantity`",
            ),
            (
                r#"{"customerId": "c", "items": [{"quantity": 1}, {"quantity": -1}]}"#,
                "items[1].quantity",
                "invalid value: integer `-1`, expected u32",
            ),
            (
                r#"{"customerId": "c", "items": [{"quantity": 99999999999}]}"#,
                "items[0].quantity",
                "invalid value: integer `99999999999`, expected u32",
            ),
            (r#"{"customerId": "c", "items": [{"quantity": 1e999}]}"#, "items[0].quantity", "number out of range"),
            (r#"{"customerId": "c", "customerId": "d", "items": []}"#, "customerId", "is given twice"),
            (
                r#"{"customerId": "c", "items": [{"items": 1}]}"#,
                "items[0].items",
                "is not known; the only known one is `quantity`",
            ),
            (r#"{"customerId": null, "items": []}"#, "customerId", "invalid type: null, expected a string"),
            (r#"{"customerId": "c", "items": {}}"#, "items", "invalid type: map, expected a sequence"),
            ("null", "body", "invalid type: null, expected struct Order"),
            ("[]", "body", "invalid type: sequence, expected struct Order"),
            (r#"["c", []]"#, "body", "invalid type: sequence, expected struct Order"),
            (r#"{"customerId": "c", "items": [[1]]}"#, "items[0]", "invalid type: sequence, expected struct Item"),
        ] {
            let problem = parse::<Order>(body.as_bytes()).expect_err(body);
            assert_eq!((problem.status().as_u16(), problem.code()), (400, "VALIDATION_ERROR"), "{body}");
            let [error] = problem.errors() else { panic!("{body}: {:?}", problem.errors()) };
            assert_eq!((error.field.as_str(), error.message.as_str()), (field, message), "{body}");
        }
    }

    #[test]
    fn what_is_no_word_is_not_malformed() {
        #[derive(Debug, Deserialize)]
        enum Method {
            Cash,
        }
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "the test only checks whether it deserializes")]
        struct Payment {
            method: Method,
        }
        for wrong in ["7", "true", "null", "[]"] {
            let problem = parse::<Payment>(format!(r#"{{"method": {wrong}}}"#).as_bytes()).expect_err(wrong);
            assert_eq!((problem.code(), problem.errors()[0].field.as_str()), ("VALIDATION_ERROR", "method"), "{wrong}");
        }
        let problem = parse::<Payment>(br#"{"method": "Shells"}"#).expect_err("no method");
        assert_eq!(problem.errors()[0].message, "is not known; the only known one is `Cash`");
        assert!(matches!(parse(br#""Cash""#), Ok(Method::Cash)));
    }

    #[test]
    fn a_name_that_repeats_its_parents_is_told_apart() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "the test only checks whether it deserializes")]
        struct Outer {
            inner: Inner,
        }
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "the test only checks whether it deserializes")]
        struct Inner {
            a: u8,
            b: u8,
        }
        for (body, field) in [
            (r#"{"inner": {"inner": 1}}"#, "inner.inner"),
            (r#"{"inner": {"a": 1, "a": 1}}"#, "inner.a"),
            (r#"{"inner": {"a": 1}}"#, "inner.b"),
        ] {
            assert_eq!(parse::<Outer>(body.as_bytes()).expect_err(body).errors()[0].field, field, "{body}");
        }
    }

    #[test]
    fn what_a_request_says_is_repeated_only_in_part() {
        let body = format!(r#"{{"customerId": "c", "items": [], "{}": 1}}"#, "x".repeat(100_000));
        let problem = parse::<Order>(body.as_bytes()).expect_err("an unknown field");
        assert!(problem.detail().len() < 1_000, "{}", problem.detail().len());
    }

    #[tokio::test]
    async fn the_content_type_is_required() {
        for (content_type, good) in [
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/vnd.order+json"), true),
            (Some("text/plain"), false),
            (Some("application/x-www-form-urlencoded"), false),
            (None, false),
        ] {
            let mut request = Request::post("/");
            if let Some(content_type) = content_type {
                request = request.header(header::CONTENT_TYPE, content_type);
            }
            let result = <Json<u32> as FromRequest<()>>::from_request(request.body("1".into()).expect("a request"), &()).await;
            match result {
                Ok(_) => assert!(good, "{content_type:?}"),
                Err(problem) => assert_eq!((good, problem.status().as_u16()), (false, 415), "{content_type:?}"),
            }
        }
    }
}
