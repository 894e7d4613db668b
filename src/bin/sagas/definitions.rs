//! The definitions of sagas that trackers have stored in their databases, for readers without the programs.

use std::collections::BTreeMap;

use sagas::saga::Chart;

use super::{error::CliError, places::Services};

/// The definitions, by name, version and tracking service.
#[derive(Debug, Default)]
pub(crate) struct Definitions(BTreeMap<(String, u32, String), Chart>);

impl Definitions {
    /// Reads the stored definitions of the services.
    ///
    /// # Errors
    /// If a database cannot be read, or a definition is not in the format of this program.
    pub(crate) async fn of(services: &Services) -> Result<Self, CliError> {
        let mut definitions = BTreeMap::new();
        for service in services.iter() {
            for stored in service.sagas().definitions(&service.name).await? {
                let chart = serde_json::from_str(&stored.body).map_err(|error| {
                    CliError::Failed(format!(
                        "the saga {} (version {}) of service `{}` cannot be read: {error}; read it with the program `sagas` of the \
                         version that wrote it",
                        stored.saga, stored.version, service.name
                    ))
                })?;
                definitions.insert((stored.saga, stored.version, service.name.clone()), chart);
            }
        }
        Ok(Self(definitions))
    }

    /// The definition with which an instance that `service` tracks has begun.
    pub(crate) fn chart(&self, service: &str, saga: &str, version: u32) -> Option<&Chart> {
        self.0.get(&(saga.to_owned(), version, service.to_owned()))
    }

    /// All definitions, sorted by name and version, with the tracking service.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Chart)> {
        self.0.iter().map(|((_, _, service), chart)| (service.as_str(), chart))
    }

    /// The sagas that `service` tracks, without duplicates.
    pub(crate) fn tracked_by(&self, service: &str) -> Vec<&str> {
        let mut names: Vec<_> = self.0.keys().filter(|(.., by)| by == service).map(|(saga, ..)| saga.as_str()).collect();
        names.dedup();
        names
    }
}
