//! A registry over HTTP, by Confluent's API, which Karapace and Apicurio also support.

use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::{Deserialize, Serialize};

use crate::{OwnedSchema, RegistryError, Schema, SchemaId, SchemaRegistry};

/// The timeout of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// A registry with a URL: `http://localhost:8081`, or for Apicurio `http://localhost:8080/apis/ccompat/v7`.
#[derive(Clone)]
pub struct HttpRegistry {
    client: Client,
    base: Url,
    credential: Option<(String, String)>,
}

impl std::fmt::Debug for HttpRegistry {
    /// Formats the registry without its credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRegistry").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    schema: &'static str,
    schema_type: &'static str,
}

#[derive(Deserialize)]
struct Registered {
    id: SchemaId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    schema: String,
    /// Missing for Avro.
    schema_type: Option<String>,
}

impl HttpRegistry {
    /// Creates a client for the registry at `url`. The URL can contain a user, a password, or both. Characters in them that have a meaning
    /// in a URL are percent-encoded.
    ///
    /// # Errors
    /// Returns an error if `url` is not valid.
    pub fn new(url: &str) -> Result<Self, RegistryError> {
        let refused =
            |error: String| RegistryError::Refused(format!("its URL cannot be used: {error}; write `http://host:8081`"));
        let mut base: Url = url.parse().map_err(|error| refused(format!("{error}")))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refused(format!("`{}` is no scheme of HTTP", base.scheme())));
        }
        let decoded = |part: &str| match percent_decode_str(part).decode_utf8() {
            Ok(part) => Ok(part.into_owned()),
            Err(_) => Err(refused("its user or password is no UTF-8".to_owned())),
        };
        let (user, password) = (decoded(base.username())?, decoded(base.password().unwrap_or_default())?);
        // If the password is a token, the user is empty.
        let credential = (!user.is_empty() || !password.is_empty()).then_some((user, password));
        if credential.is_some() && (base.set_username("").is_err() || base.set_password(None).is_err()) {
            return Err(refused("its user cannot be taken off".to_owned()));
        }
        let client = Client::builder().timeout(PATIENCE).build().map_err(|error| refused(error.without_url().to_string()))?;
        Ok(Self { client, base, credential })
    }

    /// Returns the URL of `path` in the registry.
    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// Sends `request` and returns the answer. `unknown` creates the error for a rejected credential (401).
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        request: RequestBuilder,
        what: &str,
        unknown: fn(String) -> RegistryError,
    ) -> Result<T, RegistryError> {
        let request = match &self.credential {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        };
        let away = |error: reqwest::Error| RegistryError::Unavailable(format!("{what}: {}", causes(&error.without_url())));
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        if status.is_success() {
            return answer.json().await.map_err(away);
        }
        let said = answer.text().await.map_err(away)?;
        let said: String = said.chars().take(500).collect();
        Err(match status {
            StatusCode::NOT_FOUND => RegistryError::Missing(format!("{what}: {said}")),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                RegistryError::Unavailable(format!("{what}: {status}"))
            }
            StatusCode::UNAUTHORIZED => unknown(format!("{what}: {status}: {said}")),
            status if status.is_server_error() => RegistryError::Unavailable(format!("{what}: {status}: {said}")),
            status => RegistryError::Refused(format!("{what}: {status}: {said}")),
        })
    }
}

/// Formats the error with its causes.
fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[async_trait]
impl SchemaRegistry for HttpRegistry {
    async fn register(&self, subject: &str, schema: Schema) -> Result<SchemaId, RegistryError> {
        let url = self.url(&format!("subjects/{}/versions", encoded(subject)));
        let request = self.client.post(url).json(&Asked { schema: schema.text, schema_type: schema.kind.as_str() });
        let what = format!("schema of subject `{subject}`");
        Ok(self.ask::<Registered>(request, &what, RegistryError::Refused).await?.id)
    }

    async fn look_up(&self, subject: &str, schema: Schema) -> Result<SchemaId, RegistryError> {
        let url = self.url(&format!("subjects/{}", encoded(subject)));
        let request = self.client.post(url).json(&Asked { schema: schema.text, schema_type: schema.kind.as_str() });
        let what = format!("schema of subject `{subject}`");
        Ok(self.ask::<Registered>(request, &what, RegistryError::Refused).await?.id)
    }

    async fn schema(&self, id: SchemaId) -> Result<OwnedSchema, RegistryError> {
        let request = self.client.get(self.url(&format!("schemas/ids/{id}")));
        // A rejected credential says nothing about this schema, and may be valid later. So messages wait for the schema.
        let Found { schema, schema_type } = self.ask(request, &format!("schema {id}"), RegistryError::Unavailable).await?;
        Ok(OwnedSchema { kind: schema_type.unwrap_or_else(|| "AVRO".to_owned()), text: schema })
    }
}

fn encoded(subject: &str) -> String {
    utf8_percent_encode(subject, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;

    fn credential(url: &str) -> Option<(String, String)> {
        let registry = HttpRegistry::new(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(!format!("{registry:?}").contains('@'), "{registry:?}");
        registry.credential
    }

    /// Returns the address of a server that answers one request with `status`, and the head of that request.
    async fn answering(status: &'static str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let head = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.expect("a request"));
            }
            let body = r#"{"schema":"\"int\""}"#;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.expect("a listener");
            // The rest of the request is read, because closing the connection earlier could discard the answer.
            let _ = socket.read_to_end(&mut Vec::new()).await;
            String::from_utf8(head).expect("text")
        });
        (address, head)
    }

    #[test]
    fn user_and_password_are_decoded() {
        let some = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(credential("http://localhost:8081"), None);
        assert_eq!(credential("http://us%65r@localhost:8081"), some("user", ""));
        assert_eq!(credential("http://user:p%40s%2Fs=@localhost:8081"), some("user", "p@s/s="));
        assert_eq!(credential("http://%C3%A4:p%25%3A@localhost"), some("ä", "p%:"));
        assert_eq!(credential("https://:token@localhost"), some("", "token"));
        assert!(HttpRegistry::new("http://user:%ff@localhost").is_err());
        // A character that is not encoded ends the host.
        assert!(HttpRegistry::new("http://user:p%40s/s=@localhost").is_err());
    }

    #[tokio::test]
    async fn the_credential_that_was_meant_is_sent() {
        let (address, head) = answering("200 OK").await;
        let registry = HttpRegistry::new(&format!("http://user:p%40s%2Fs=@{address}/base/")).expect("a registry");
        let schema = registry.schema(7).await.expect("a schema");
        assert_eq!(schema, OwnedSchema { kind: "AVRO".to_owned(), text: r#""int""#.to_owned() });
        let head = head.await.expect("a request");
        assert!(head.starts_with("GET /base/schemas/ids/7 HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("authorization: basic dxnlcjpwqhmvcz0=\r\n"), "{head}");
    }

    #[tokio::test]
    async fn a_schema_is_refused_but_an_unknown_credential_is_not_its_fault() {
        let (address, _head) = answering("403 Forbidden").await;
        let refused = HttpRegistry::new(&format!("http://{address}")).expect("a registry").schema(7).await;
        assert!(matches!(refused, Err(RegistryError::Refused(_))), "{refused:?}");
        let (address, _head) = answering("401 Unauthorized").await;
        let unknown = HttpRegistry::new(&format!("http://{address}")).expect("a registry").schema(7).await;
        assert!(matches!(unknown, Err(RegistryError::Unavailable(_))), "{unknown:?}");
        let (address, _head) = answering("401 Unauthorized").await;
        let own = Schema::new(crate::SchemaKind::Avro, r#""int""#);
        let unknown = HttpRegistry::new(&format!("http://{address}")).expect("a registry").look_up("s", own).await;
        assert!(matches!(unknown, Err(RegistryError::Refused(_))), "{unknown:?}");
    }
}
