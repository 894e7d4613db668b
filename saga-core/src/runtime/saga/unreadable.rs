//! Instances whose rows cannot be decoded. Each raises a condition until it can be decoded or no longer exists.

use super::super::{conditions::Severity, core::Core};
use crate::{
    engine::saga::Instance,
    saga::{InstanceKey, InstanceRecord},
    store::{PublishTx, StoreError},
};

/// The condition of an instance that cannot be decoded.
const SAGA_UNREADABLE: &str = "saga_unreadable";
/// The most instances with a condition of their own.
const TOLD: usize = 100;

/// Locks and reads instances in `tx`.
pub(super) async fn load(core: &Core, tx: &mut dyn PublishTx, keys: &[InstanceKey]) -> Result<Vec<Instance>, StoreError> {
    let records = match tx.load_instances(&core.name, keys).await {
        Err(StoreError::Incompatible(error)) => {
            // With several keys, the caller reads them again one by one, which shows the one concerned.
            if let [key] = keys {
                report(core, key, &error);
            }
            return Err(StoreError::Incompatible(error));
        }
        records => records?,
    };
    records.into_iter().map(|record| read(core, record)).collect()
}

fn read(core: &Core, record: InstanceRecord) -> Result<Instance, StoreError> {
    let key = record.instance.clone();
    match Instance::read(record) {
        Ok(mut instance) => {
            instance.bring_back(core.clock.now());
            if core.conditions.has(SAGA_UNREADABLE) {
                core.conditions.clear(SAGA_UNREADABLE, &subject(&key), core.clock.now());
            }
            Ok(instance)
        }
        Err(error) => {
            let error = format!(
                "the instance `{}` of {} cannot be read, was it written by a newer program? {error}: run that one, or mend its row in \
                 the table sagas_instances",
                key.id, key.saga
            );
            report(core, &key, &error);
            Err(StoreError::Incompatible(error))
        }
    }
}

fn report(core: &Core, key: &InstanceKey, error: &str) {
    let subject = subject(key);
    if core.conditions.count_of(SAGA_UNREADABLE) < TOLD {
        let detail =
            format!("{error}; its messages become dead letters, to be retried when it can be read; other instances go on");
        core.conditions.raise(SAGA_UNREADABLE, &subject, Severity::Warning, detail, core.clock.now());
    }
}

/// Reads the instances that could not be decoded again, and clears the conditions of those that can be.
pub(crate) async fn look_again(core: &Core) {
    for subject in core.conditions.subjects(SAGA_UNREADABLE) {
        let Some((saga, id)) = subject.split_once(' ') else { continue };
        let key = InstanceKey { saga: saga.to_owned(), id: id.to_owned() };
        if let Ok(found) = core.store().sagas().instance(&core.name, &key).await
            && found.is_none_or(|record| Instance::read(record).is_ok())
        {
            core.conditions.clear(SAGA_UNREADABLE, &subject, core.clock.now());
        }
    }
}

fn subject(key: &InstanceKey) -> String {
    format!("{} {}", key.saga, key.id)
}
