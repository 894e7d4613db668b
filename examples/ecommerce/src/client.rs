//! A client of the system's REST interface, for the demo, the bench and the check.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::ServiceName;

/// A client of the services, with the URL of each. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// The token that makes the client an operator.
    token: Option<Arc<str>>,
    urls: Arc<BTreeMap<ServiceName, String>>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The client has no URL for the service.
    #[error("the {0} service does not run here")]
    NoSuchService(ServiceName),
    /// The service cannot be reached, or its answer cannot be read.
    #[error("{url} cannot be called: {}", causes(.error))]
    Http {
        /// The address.
        url: String,
        /// Why.
        error: reqwest::Error,
    },
    /// The service answered with an error.
    #[error("{url} answered {status}: {body}")]
    Refused {
        /// The address.
        url: String,
        /// The status.
        status: StatusCode,
        /// The body of the answer.
        body: String,
    },
}

impl Client {
    /// Creates a client of the services at `urls`.
    ///
    /// # Errors
    /// When the HTTP client cannot be created.
    pub fn new(urls: BTreeMap<ServiceName, String>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
        Ok(Self { http, token: None, urls: Arc::new(urls) })
    }

    /// Makes the client an operator with this token.
    #[must_use]
    pub fn operator(mut self, token: Option<&str>) -> Self {
        self.token = token.map(Arc::from);
        self
    }

    /// Returns the URL of a service.
    ///
    /// # Errors
    /// When the client has no URL for it.
    pub fn url(&self, service: ServiceName) -> Result<&str, CallError> {
        self.urls.get(&service).map(String::as_str).ok_or(CallError::NoSuchService(service))
    }

    /// Sends `GET path`.
    ///
    /// # Errors
    /// When the call fails or the answer is not a `T`.
    pub async fn get<T: DeserializeOwned>(&self, service: ServiceName, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, service, path, None::<&Value>).await
    }

    /// Sends `POST path` with `body`.
    ///
    /// # Errors
    /// When the call fails or the answer is not a `T`.
    pub async fn post<T: DeserializeOwned>(
        &self,
        service: ServiceName,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(Method::POST, service, path, Some(body)).await
    }

    /// Sends `PUT path` with `body`.
    ///
    /// # Errors
    /// When the call fails or the answer is not a `T`.
    pub async fn put<T: DeserializeOwned>(
        &self,
        service: ServiceName,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(Method::PUT, service, path, Some(body)).await
    }

    /// Returns the number of entries on all pages of the list at `path`.
    ///
    /// # Errors
    /// When the call fails or the answer has no `X-Total-Count`.
    pub async fn count(&self, service: ServiceName, path: &str) -> Result<u64, CallError> {
        let url = format!("{}{path}", self.url(service)?);
        let response = self.http.get(&url).send().await.map_err(|error| CallError::Http { url: url.clone(), error })?;
        let status = response.status();
        let total = response.headers().get("x-total-count").and_then(|total| total.to_str().ok()?.parse().ok());
        total.ok_or_else(|| CallError::Refused { url, status, body: "no X-Total-Count".to_owned() })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        service: ServiceName,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, CallError> {
        let url = format!("{}{path}", self.url(service)?);
        let mut request = self.http.request(method, &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let failed = |error| CallError::Http { url: url.clone(), error };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            let body = response.text().await.map_err(failed)?;
            return Err(CallError::Refused { url, status, body });
        }
        // An empty body is read as `null`.
        let bytes = response.bytes().await.map_err(failed)?;
        let body: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(body).map_err(|error| CallError::Refused { url, status, body: error.to_string() })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl CallError {
    /// Returns whether the service could not be connected to.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Http { error, .. } if error.is_connect())
    }

    /// Returns whether the service may answer this call only to operators, or not at all.
    pub fn is_for_operators(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND, .. })
    }
}

fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
