//! The answer of a service to an HTTP request.

use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::Value;

/// A response that was read completely.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text, in which numbers keep their digits.
    pub text: String,
}

impl Answer {
    /// Sends `request` and reads the answer.
    ///
    /// # Panics
    /// Panics without an answer.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap_or_else(|error| panic!("the answer broke off: {error:?}"));
        Self { status, headers, text }
    }

    /// Returns a header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// Panics when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", self.status, self.text))
    }

    /// Returns the body as JSON, of an answer with this status.
    ///
    /// # Panics
    /// Panics when the status is another.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text);
        self.json()
    }

    /// Returns the body of a problem with this status and code.
    ///
    /// # Panics
    /// Panics when the answer is another, or lacks a part that every problem has.
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

    /// Returns the names of the fields in the problem's errors.
    pub fn blamed(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}
