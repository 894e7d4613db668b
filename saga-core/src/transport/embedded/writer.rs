//! The single task that writes the file.
//!
//! It takes everything that waits, writes it in one transaction, and only then makes it visible to readers and answers the callers. While
//! it waits for the disk, the next batch accumulates, so that more publishers share an fsync when there are more of them.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Arc, LazyLock},
};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    EmbeddedOptions,
    commits::{Batch, Commits},
    file::{self, LogFile},
    records,
    retention::Retention,
};
use crate::{
    message::Record,
    time::Timestamp,
    transport::{
        TopicPartition, TopicSpec, TransportError,
        local::{Catalog, Partition, Topic, new_identity},
    },
};

/// The number of records, and of bytes, at which a transaction is full. The remaining requests go into the next one.
const BATCH_RECORDS: usize = 10_000;
const BATCH_BYTES: usize = 16 << 20;

/// A request to write something.
pub(super) struct Request {
    pub(super) work: Work,
    /// Receives the offsets of the records of an append, or an empty list for other work.
    pub(super) reply: oneshot::Sender<Result<Vec<i64>, TransportError>>,
}

pub(super) enum Work {
    Append(Vec<(Arc<Partition>, Arc<Record>)>),
    Create(Vec<TopicSpec>),
    Register(Arc<str>, Vec<Arc<Partition>>),
    Forget(Arc<str>),
    Probe,
}

/// The state of the writer task.
pub(super) struct Writer {
    pub(super) file: LogFile,
    /// `None` after a failure, until the next write opens the connection again.
    pub(super) connection: Option<SqliteConnection>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) commits: Arc<Commits>,
    pub(super) closing: watch::Receiver<bool>,
    /// The time of the last successful write; `None` after a failure.
    pub(super) stored: watch::Sender<Option<Timestamp>>,
    pub(super) options: EmbeddedOptions,
    pub(super) next_row: i64,
    /// The lock on the folder, released last.
    pub(super) lock: File,
}

/// Closes the queue of offsets when the writer ends, even by a panic, so that the callers whose offsets will not be stored get an error.
struct Finish(Arc<Commits>);

impl Drop for Finish {
    fn drop(&mut self) {
        drop(self.0.finish());
    }
}

/// The content of one transaction.
#[derive(Default)]
struct Plan {
    /// By the row of the partition.
    appends: BTreeMap<i64, Append>,
    topics: Vec<Topic>,
    groups: Vec<(Arc<str>, Vec<Arc<Partition>>)>,
    forgotten: Vec<Arc<str>>,
    probe: bool,
}

/// Records to append to one partition.
struct Append {
    partition: Arc<Partition>,
    /// The offset of the first record.
    first: i64,
    records: Vec<Arc<Record>>,
}

impl Writer {
    /// Writes until the log is closed or no caller is left.
    pub(super) async fn run(mut self) {
        let _finish = Finish(Arc::clone(&self.commits));
        let commits = Arc::clone(&self.commits);
        let clock = self.options.clock.clone();
        let mut retention = Retention::new(&self.options);
        let mut trim = self.file.trim();
        loop {
            let first = tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(request) => Some(request),
                    None => break,
                },
                () = commits.waiting() => None,
                _ = self.closing.wait_for(|closing| *closing), if !self.requests.is_closed() => {
                    self.requests.close();
                    None
                }
                () = retention.due(&clock), if self.connection.is_some() => None,
            };
            let batch = self.gather(first);
            self.write(batch, commits.take(), &mut retention).await;
            if let Some(connection) = &mut self.connection {
                LogFile::committed(&mut trim, connection).await;
            }
            if retention.is_due(clock.now()) {
                self.clean_up(&mut retention).await;
            }
        }
        self.write(Vec::new(), commits.finish(), &mut retention).await;
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the embedded log was not closed cleanly; nothing is lost");
        }
        drop(self.lock);
    }

    fn gather(&mut self, first: Option<Request>) -> Vec<Request> {
        let mut batch = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        let mut next = first;
        while let Some(request) = next {
            if let Work::Append(appended) = &request.work {
                records += appended.len();
                bytes += appended.iter().map(|(_, record)| record.size()).sum::<usize>();
            }
            batch.push(request);
            if records >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                break;
            }
            next = self.requests.try_recv().ok();
        }
        batch
    }

    async fn write(&mut self, batch: Vec<Request>, offsets: Option<Batch>, retention: &mut Retention) {
        if batch.is_empty() && offsets.is_none() {
            return;
        }
        let now = self.options.clock.now();
        // Comes first, because the offsets of the plan are counted from the end that the file has.
        let opened = self.connection().await.map(drop);
        let mut plan = Plan::default();
        let answers: Vec<_> = batch.into_iter().map(|request| (self.plan(&mut plan, request.work), request.reply)).collect();
        let outcome = match opened {
            Ok(()) => self.store(&plan, offsets.as_ref(), now).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                retention.appended(plan.appends.values().flat_map(|append| &append.records).map(|record| record.size()).sum());
                self.show(plan);
                self.stored.send_replace(Some(now));
                for (offsets, reply) in answers {
                    let _ = reply.send(Ok(offsets));
                }
                if let Some(offsets) = offsets {
                    offsets.end(Ok(()));
                }
            }
            Err(error) => {
                // It is unknown whether a failed transaction is on the disk. So the connection is closed, and the ends of the partitions
                // are read from the file before anything else is written.
                self.connection = None;
                self.stored.send_replace(None);
                retention.make_room();
                let problem = format!("the embedded log cannot be written now ({error}); see that its disk has room and is well");
                tracing::error!(%error, "the embedded log cannot be written");
                for (_, reply) in answers {
                    let _ = reply.send(Err(TransportError::Unavailable(problem.clone())));
                }
                if let Some(offsets) = offsets {
                    offsets.end(Err(problem));
                }
            }
        }
    }

    async fn clean_up(&mut self, retention: &mut Retention) {
        let catalog = Arc::clone(&self.catalog);
        let now = self.options.clock.now();
        let outcome = match self.connection().await {
            Ok(connection) => retention.step(connection, &catalog, now).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "retention of the embedded log failed and will be tried again");
            self.connection = None;
        }
    }

    /// Returns the connection, opened again after a failure.
    async fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            gone @ None => {
                let mut connection = self.file.connect().await?;
                for partition in self.catalog.topics().iter().flat_map(|topic| &topic.partitions) {
                    let (_, end) = partition.bounds();
                    partition.reset_end(file::end(&mut connection, partition.row).await?.max(end));
                }
                Ok(gone.insert(connection))
            }
        }
    }

    /// Adds a request to the plan, and returns the offsets that its records will have.
    fn plan(&mut self, plan: &mut Plan, work: Work) -> Vec<i64> {
        match work {
            Work::Append(records) => {
                let mut offsets = Vec::with_capacity(records.len());
                for (partition, record) in records {
                    let append = plan.appends.entry(partition.row).or_insert_with(|| {
                        let (_, end) = partition.bounds();
                        Append { partition, first: end, records: Vec::new() }
                    });
                    offsets.push(append.first + append.records.len() as i64);
                    append.records.push(record);
                }
                return offsets;
            }
            Work::Create(topics) => {
                for spec in topics {
                    if self.catalog.topic(&spec.name).is_some() || plan.topics.iter().any(|topic| *topic.name == *spec.name) {
                        continue;
                    }
                    let partitions = (0..spec.partitions as i32)
                        .map(|number| {
                            let row = self.next_row;
                            self.next_row += 1;
                            Partition::new(TopicPartition::new(&spec.name, number), row, 0, 0, self.options.tail_bytes)
                        })
                        .collect();
                    plan.topics.push(Topic::new(&spec.name, new_identity(), partitions));
                }
            }
            Work::Register(group, partitions) => plan.groups.push((group, partitions)),
            Work::Forget(group) => plan.forgotten.push(group),
            Work::Probe => plan.probe = true,
        }
        Vec::new()
    }

    async fn store(&mut self, plan: &Plan, offsets: Option<&Batch>, now: Timestamp) -> Result<(), sqlx::Error> {
        let connection = self.connection().await?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        for topic in &plan.topics {
            sqlx::query("INSERT OR REPLACE INTO topics (name, identity) VALUES (?, ?)")
                .bind(&*topic.name)
                .bind(&*topic.identity)
                .execute(&mut *connection)
                .await?;
            for partition in &topic.partitions {
                // Replaces a topic of an earlier attempt that was stored although it was reported as failed. Nothing was published to it.
                sqlx::query("INSERT OR REPLACE INTO partitions (id, topic, number) VALUES (?, ?, ?)")
                    .bind(partition.row)
                    .bind(&partition.id.topic)
                    .bind(partition.id.partition)
                    .execute(&mut *connection)
                    .await?;
            }
        }
        for append in plan.appends.values() {
            records::insert(connection, &append.partition, append.first, &append.records, now).await?;
        }
        for group in &plan.forgotten {
            sqlx::query("DELETE FROM offsets WHERE consumer_group = ?").bind(&**group).execute(&mut *connection).await?;
        }
        for (group, partitions) in &plan.groups {
            let starts: Vec<_> = partitions.iter().map(|partition| (&**group, partition.row, partition.bounds().0)).collect();
            store_offsets(connection, &starts).await?;
        }
        if let Some(offsets) = offsets {
            let offsets: Vec<_> = offsets.offsets.iter().map(|((group, row), (_, offset))| (&**group, *row, *offset)).collect();
            store_offsets(connection, &offsets).await?;
        }
        if plan.probe {
            // Uses space as records do, so that a full disk is noticed, and frees it again.
            sqlx::query("INSERT OR REPLACE INTO probe (id, at, room) VALUES (1, ?, zeroblob(16384))")
                .bind(now.as_millis())
                .execute(&mut *connection)
                .await?;
            sqlx::query("UPDATE probe SET room = NULL").execute(&mut *connection).await?;
        }
        sqlx::query("COMMIT").execute(connection).await?;
        Ok(())
    }

    /// Makes what was stored visible to readers.
    fn show(&self, plan: Plan) {
        for topic in plan.topics {
            self.catalog.enter(topic);
        }
        for group in plan.forgotten {
            for partition in self.catalog.topics().iter().flat_map(|topic| &topic.partitions) {
                partition.forget(&group);
            }
        }
        for (group, partitions) in plan.groups {
            for partition in partitions {
                partition.register(&group);
            }
        }
        for append in plan.appends.into_values() {
            append.partition.push(append.records);
        }
    }
}

/// Statements that store 1, 2, 4, ... offsets. A stored offset only increases.
static OFFSETS: LazyLock<[Arc<str>; 7]> = LazyLock::new(|| {
    std::array::from_fn(|log2| {
        let rows = vec!["(?, ?, ?)"; 1 << log2].join(", ");
        format!(
            "INSERT INTO offsets (consumer_group, partition, committed) VALUES {rows}
             ON CONFLICT (consumer_group, partition) DO UPDATE SET committed = max(committed, excluded.committed)"
        )
        .into()
    })
});

/// Stores offsets, each as the group, the row of the partition, and the offset.
async fn store_offsets(connection: &mut SqliteConnection, mut offsets: &[(&str, i64, i64)]) -> Result<(), sqlx::Error> {
    while !offsets.is_empty() {
        let log2 = (offsets.len().ilog2() as usize).min(OFFSETS.len() - 1);
        let (chunk, rest) = offsets.split_at(1 << log2);
        let mut insert = sqlx::query(AssertSqlSafe(Arc::clone(&OFFSETS[log2])));
        for (group, row, offset) in chunk {
            insert = insert.bind(*group).bind(*row).bind(*offset);
        }
        insert.execute(&mut *connection).await?;
        offsets = rest;
    }
    Ok(())
}

/// Returns the row for the next partition to be created.
pub(super) fn next_row(catalog: &Catalog) -> i64 {
    let topics = catalog.topics();
    topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.row).max().map_or(1, |last| last + 1)
}
