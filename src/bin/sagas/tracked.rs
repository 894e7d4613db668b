//! The instances that the services track.

use std::collections::BTreeSet;

use sagas::port::tracking::Instance;
use sagas::{
    saga::{InstanceKey, InstanceOrder, InstanceQuery, InstanceRecord},
    time::Timestamp,
};

use super::{
    error::CliError,
    places::{Service, Services},
};

/// The number of instances that are read at once.
const PAGE: u32 = 1_000;

/// An instance, and the service that tracks it.
#[derive(Debug, Clone)]
pub(crate) struct Tracked {
    pub(crate) service: String,
    pub(crate) instance: Instance,
}

impl Tracked {
    fn read(service: &Service, record: InstanceRecord) -> Result<Self, CliError> {
        let InstanceKey { saga, id } = record.instance.clone();
        let instance = Instance::read(record).map_err(|error| {
            CliError::Failed(format!(
                "the instance {id} of {saga}, kept by service `{}`, cannot be read: {error}; read it with the program `sagas` of the \
                 version that wrote it",
                service.name
            ))
        })?;
        Ok(Self { service: service.name.clone(), instance })
    }

    /// Whether one of its timers has ended by `now`.
    pub(crate) fn is_overdue(&self, now: Timestamp) -> bool {
        self.instance.due().is_some_and(|due| due <= now)
    }
}

/// Reads one page of the instances of `service` that match `query`, and counts all of them.
pub(crate) async fn page(service: &Service, query: &InstanceQuery) -> Result<(Vec<Tracked>, u64), CliError> {
    let (records, total) = service.sagas().instances(&service.name, query).await?;
    let instances: Result<_, _> = records.into_iter().map(|record| Tracked::read(service, record)).collect();
    Ok((instances?, total))
}

/// Reads the instance `key` of `service`; `None` if there is none.
pub(crate) async fn one(service: &Service, key: &InstanceKey) -> Result<Option<Tracked>, CliError> {
    let record = service.sagas().instance(&service.name, key).await?;
    record.map(|record| Tracked::read(service, record)).transpose()
}

/// Reads all instances of `service` that match `query`, up to the first one for which `enough` returns true.
pub(crate) async fn all(
    service: &Service,
    query: &InstanceQuery,
    enough: impl Fn(&Instance) -> bool,
) -> Result<Vec<Tracked>, CliError> {
    let (mut found, mut known, mut offset) = (Vec::new(), BTreeSet::new(), 0);
    loop {
        let (instances, _) = page(service, &InstanceQuery { offset, limit: PAGE, ..query.clone() }).await?;
        let last = instances.len() < PAGE as usize;
        offset += u64::from(PAGE);
        for tracked in instances {
            if enough(&tracked.instance) {
                return Ok(found);
            }
            // An instance that is updated between two pages can be on both.
            if known.insert(tracked.instance.key.clone()) {
                found.push(tracked);
            }
        }
        if last {
            return Ok(found);
        }
    }
}

/// Reads the open instances of all services that need attention or have a timer that has ended by `now`, the least recently
/// updated first.
pub(crate) async fn stuck(services: &Services, now: Timestamp) -> Result<Vec<Tracked>, CliError> {
    let attention = InstanceQuery { attention: true, open: true, order: InstanceOrder::Stalest, ..InstanceQuery::default() };
    let mut stuck = Vec::new();
    for service in services.iter() {
        let mut here = all(service, &attention, |_| false).await?;
        let known: BTreeSet<_> = here.iter().map(|tracked| tracked.instance.key.clone()).collect();
        for key in service.sagas().due(&service.name, now, u32::MAX).await? {
            // It may have changed since the first query.
            if !known.contains(&key)
                && let Some(tracked) = one(service, &key).await?
                && tracked.is_overdue(now)
            {
                here.push(tracked);
            }
        }
        stuck.append(&mut here);
    }
    stuck.sort_by(|one, other| {
        let place = |tracked: &Tracked| (tracked.instance.updated_at, tracked.instance.key.clone());
        place(one).cmp(&place(other))
    });
    Ok(stuck)
}
