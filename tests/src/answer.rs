//! What a service answers.

use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::Value;

/// A response, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it came: numbers keep their digits here.
    pub text: String,
}

impl Answer {
    /// Sends `request`.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap_or_else(|error| panic!("the answer broke off: {error:?}"));
        Self { status, headers, text }
    }

    /// A header, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", self.status, self.text))
    }

    /// The body as JSON, of an answer with this status.
    ///
    /// # Panics
    /// When it has another.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text);
        self.json()
    }

    /// The body of a problem with this status and code.
    ///
    /// # Panics
    /// When it is none, or not in the form that every problem has.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        for name in ["type", "title", "detail"] {
            assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {problem}");
        }
        for error in problem["errors"].as_array().unwrap_or(&Vec::new()) {
            assert!(error["field"].is_string() && error["message"].is_string(), "{problem}");
        }
        problem
    }

    /// The fields that a problem blames.
    pub fn blamed(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}
