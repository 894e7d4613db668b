//! Which events services have handled.

use async_trait::async_trait;

use super::{
    super::{Assignment, HandledStore, StoreError, Taken, takers},
    MemoryStore,
};

#[async_trait]
impl HandledStore for MemoryStore {
    async fn events(&self, service: &str) -> Result<Vec<(String, String)>, StoreError> {
        let tables = self.tables();
        let of_service = tables.handled.iter().filter(|(of, ..)| of == service);
        Ok(of_service.map(|(_, topic, event)| (topic.clone(), event.clone())).collect())
    }

    async fn note(&self, service: &str, events: &[(String, String)], forget: &[(String, String)]) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for (topic, event) in forget {
            tables.handled.remove(&(service.to_owned(), topic.clone(), event.clone()));
        }
        let noted = events.iter().map(|(topic, event)| (service.to_owned(), topic.clone(), event.clone()));
        tables.handled.extend(noted);
        Ok(())
    }

    async fn assign(&self, service: &str, taken: &[Taken]) -> Result<Assignment, StoreError> {
        let mut tables = self.tables();
        let known = tables.takers.entry(service.to_owned()).or_default();
        let assigned = takers::assign(known.clone(), taken)?;
        known.clone_from(&assigned.all);
        Ok(assigned)
    }
}
