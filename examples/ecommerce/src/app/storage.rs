//! Where the services keep what they know: a SQLite file each, or a schema each of one PostgreSQL database.

use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sagas::{Database, id::IdSource, time::Clock};

use super::{ServiceName, StartError};
use crate::services::payment::gateway::Gateway;

/// Where the services keep what they know.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// A SQLite file for each, in the data folder.
    Files,
    /// A schema for each, in the PostgreSQL database behind this URL.
    Postgres(String),
}

impl Storage {
    /// The database of a service.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) async fn database(&self, data_dir: &Path, service: ServiceName) -> Result<Database, StartError> {
        let (url, place) = match self {
            Self::Files => {
                let path = file(data_dir, service);
                (format!("sqlite://{}", path.display()), path.display().to_string())
            }
            Self::Postgres(url) => (with_schema(url, service), format!("{} (schema {service})", without_password(url))),
        };
        Database::open(&url).await.map_err(|error| StartError::Database { place, error })
    }

    /// The simulated gateway, which remembers what it was asked in a place of its own.
    ///
    /// # Errors
    /// When that cannot be opened.
    pub(crate) async fn gateway(&self, data_dir: &Path, clock: &Clock, ids: &IdSource) -> Result<Gateway, StartError> {
        let (url, place) = match self {
            Self::Files => {
                let path = data_dir.join("gateway.sqlite").display().to_string();
                (format!("sqlite:{}?mode=rwc", utf8_percent_encode(&path, NON_ALPHANUMERIC)), path)
            }
            Self::Postgres(url) => (without_query(url), without_password(url)),
        };
        Gateway::open(&url, clock.clone(), ids.clone()).await.map_err(|error| StartError::Gateway { place, error })
    }

    /// The file that should be there and is not, when `service` has written nothing yet.
    pub(crate) fn missing(&self, data_dir: &Path, service: ServiceName) -> Option<PathBuf> {
        match self {
            Self::Files => Some(file(data_dir, service)).filter(|path| !path.is_file()),
            Self::Postgres(_) => None,
        }
    }
}

/// Without the password.
impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Files => f.write_str("Files"),
            Self::Postgres(url) => f.debug_tuple("Postgres").field(&without_password(url)).finish(),
        }
    }
}

fn file(data_dir: &Path, service: ServiceName) -> PathBuf {
    data_dir.join(format!("{service}.sqlite"))
}

fn with_schema(url: &str, service: ServiceName) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}schema={service}")
}

/// What is set for the services' pools is none of the gateway's business.
fn without_query(url: &str) -> String {
    url.split_once('?').map_or(url, |(place, _)| place).to_owned()
}

/// A URL without what may hold a password: what stands between `//` and `@`, and the query.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("//") else { return "URL".to_owned() };
    let (place, query) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
    // A password with one of these characters in it ends nowhere that can be told.
    let host = if query.contains('@') { "…" } else { place.rsplit_once('@').map_or(place, |(_, host)| host) };
    format!("{scheme}//{host}")
}
