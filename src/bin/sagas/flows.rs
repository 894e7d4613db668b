//! The flows that the trackers have left in their databases for whoever reads these without the programs.

use std::collections::BTreeMap;

use sagas::saga::Chart;

use super::{places::Services, trouble::Trouble};

/// The flows, by name, version and who tracks them.
#[derive(Debug, Default)]
pub(crate) struct Flows(BTreeMap<(String, u32, String), Chart>);

impl Flows {
    /// What the services have left.
    ///
    /// # Errors
    /// When a database cannot be read, or a flow is not what this program writes.
    pub(crate) async fn of(services: &Services) -> Result<Self, Trouble> {
        let mut flows = BTreeMap::new();
        for service in services.iter() {
            for stored in service.sagas().definitions(&service.name).await? {
                let chart = serde_json::from_str(&stored.body).map_err(|error| {
                    Trouble::Failed(format!(
                        "the flow {} (version {}) of service `{}` cannot be read: {error}; read it with the program `sagas` of the \
                         version that wrote it",
                        stored.saga, stored.version, service.name
                    ))
                })?;
                flows.insert((stored.saga, stored.version, service.name.clone()), chart);
            }
        }
        Ok(Self(flows))
    }

    /// The flow in which an instance that `service` tracks has begun.
    pub(crate) fn chart(&self, service: &str, saga: &str, version: u32) -> Option<&Chart> {
        self.0.get(&(saga.to_owned(), version, service.to_owned()))
    }

    /// All of them, in the order of names and versions, with who tracks them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Chart)> {
        self.0.iter().map(|((_, _, service), chart)| (service.as_str(), chart))
    }

    /// The sagas that `service` tracks, each once.
    pub(crate) fn tracked_by(&self, service: &str) -> Vec<&str> {
        let mut names: Vec<_> = self.0.keys().filter(|(.., by)| by == service).map(|(saga, ..)| saga.as_str()).collect();
        names.dedup();
        names
    }
}
