//! Passes the records of a call to the client, in rounds. A record that must wait for the first request to its partition is left
//! for the next round, so that it does not block other partitions.

use std::{collections::BTreeSet, sync::Arc};

use rdkafka::producer::Producer as _;
use saga_core::{message::Record, transport::TransportError};
use tokio::time::Instant;

use super::{
    Client, Producer, again,
    call::Call,
    known::{KnownPartitions, SendPermission, partition_of},
    unanswered,
};

impl Producer {
    /// Passes `records` to the client until `deadline`, and sets the results of the records that were not passed. `partitions`
    /// returns the number of partitions of a topic, or why nothing can be sent to it.
    pub(super) async fn rounds(
        &self,
        client: &Client,
        call: &Arc<Call>,
        records: &[Record],
        partitions: impl Fn(&str) -> Result<i32, TransportError>,
        deadline: Instant,
    ) {
        let known = &client.client().context().known;
        let mut left: Vec<usize> = (0..records.len()).collect();
        while !left.is_empty() {
            let moved = known.moved();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let (mut later, mut waiting, mut failed) = (Vec::new(), BTreeSet::new(), None);
            for index in std::mem::take(&mut left) {
                let record = &records[index];
                if let Some(error) = &failed {
                    call.answer(index, Err(again(error)));
                    continue;
                }
                let taken = match partitions(&record.topic).map(|partitions| turn(known, record, partitions, &mut waiting)) {
                    Ok(SendPermission::Later) => {
                        later.push(index);
                        continue;
                    }
                    Ok(SendPermission::Known) => self.enqueue(client, call, index, record, None, deadline).await,
                    Ok(SendPermission::First(introduction)) => {
                        self.enqueue(client, call, index, record, Some(introduction), deadline).await
                    }
                    Err(error) => Err(error),
                };
                match taken {
                    Ok(()) => {}
                    // No later record can be stored before this one.
                    Err(error @ TransportError::Unavailable(_)) => {
                        call.answer(index, Err(again(&error)));
                        failed = Some(error);
                    }
                    Err(error) => call.answer(index, Err(error)),
                }
            }
            left = later;
            if !left.is_empty() && failed.is_none() {
                failed = tokio::select! {
                    () = moved => None,
                    () = call.broken() => Some(TransportError::Unavailable("a record before it failed".into())),
                    () = tokio::time::sleep_until(deadline) => Some(unanswered()),
                };
            }
            if let Some(error) = failed {
                left.drain(..).for_each(|index| call.answer(index, Err(again(&error))));
            }
        }
    }
}

/// Whether `record` can be sent now. A record of a partition in `waiting` must not overtake the records that wait for this
/// partition.
fn turn<'r>(
    known: &Arc<KnownPartitions>,
    record: &'r Record,
    partitions: i32,
    waiting: &mut BTreeSet<(&'r str, i32)>,
) -> SendPermission {
    // A record without a key can go to any partition, and has no order.
    let Some(key) = &record.key else { return SendPermission::Known };
    let place = (&*record.topic, partition_of(key, partitions));
    if waiting.contains(&place) {
        return SendPermission::Later;
    }
    let turn = known.turn(place.0, place.1, partitions);
    if matches!(turn, SendPermission::Later) {
        waiting.insert(place);
    }
    turn
}
