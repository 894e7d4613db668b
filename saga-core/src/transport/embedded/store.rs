//! The part of the log that callers use: requests go to the writer, reads to the pool of readers.

use std::{path::Path, sync::Arc, time::Duration};

use futures_core::future::BoxFuture;
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    EmbeddedOptions,
    commits::Commits,
    file::LogFile,
    folder,
    options::MAX_RECORD_BYTES,
    records,
    writer::{Request, Work, Writer, next_row},
};
use crate::{
    message::{Received, Record},
    time::{Clock, Timestamp},
    transport::{
        TopicSpec, TransportError,
        local::{Catalog, Limits, LogStore, Partition},
    },
};

/// The length of the writer's queue. When it is full, publishers wait to enqueue.
const WAITING_REQUESTS: usize = 256;

/// The log counts as writable, without a test, for this time after something was stored.
const RECENT: Duration = Duration::from_secs(2);

/// The time that closing waits for running reads.
const READ_PATIENCE: Duration = Duration::from_secs(1);

/// The log in a folder.
pub(super) struct SqliteLog {
    writer: mpsc::Sender<Request>,
    commits: Arc<Commits>,
    readers: SqlitePool,
    stored: watch::Receiver<Option<Timestamp>>,
    closing: watch::Sender<bool>,
    max_record_bytes: usize,
    clock: Clock,
}

impl SqliteLog {
    pub(super) async fn open(folder: &Path, options: EmbeddedOptions) -> Result<(Self, Arc<Catalog>), TransportError> {
        let lock = {
            let folder = folder.to_owned();
            tokio::task::spawn_blocking(move || folder::lock(&folder)).await.map_err(|_| TransportError::Closed)??
        };
        let file = LogFile::new(folder, &options);
        let (connection, catalog) = file.open(options.tail_bytes).await?;
        let readers = file.readers(options.readers);
        let (requests, received) = mpsc::channel(WAITING_REQUESTS);
        let commits = Arc::new(Commits::new());
        let stored = watch::Sender::new(None);
        let closing = watch::Sender::new(false);
        let store = Self {
            writer: requests,
            commits: Arc::clone(&commits),
            readers,
            stored: stored.subscribe(),
            closing: closing.clone(),
            max_record_bytes: options.max_record_bytes.min(MAX_RECORD_BYTES),
            clock: options.clock.clone(),
        };
        let writer = Writer {
            file,
            connection: Some(connection),
            next_row: next_row(&catalog),
            catalog: Arc::clone(&catalog),
            requests: received,
            commits,
            closing: closing.subscribe(),
            stored,
            options,
            lock,
        };
        tokio::spawn(writer.run());
        Ok((store, catalog))
    }

    pub(super) async fn forget(&self, group: &str) -> Result<(), TransportError> {
        self.request(Work::Forget(group.into())).await.map(drop)
    }

    async fn request(&self, work: Work) -> Result<Vec<i64>, TransportError> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Request { work, reply }).await.map_err(|_| TransportError::Closed)?;
        answer.await.map_err(|_| TransportError::Closed)?
    }
}

impl LogStore for SqliteLog {
    fn max_record_bytes(&self) -> usize {
        self.max_record_bytes
    }

    async fn create(&self, topics: Vec<TopicSpec>) -> Result<(), TransportError> {
        self.request(Work::Create(topics)).await.map(drop)
    }

    async fn append(&self, records: Vec<(Arc<Partition>, Arc<Record>)>) -> Vec<Result<i64, TransportError>> {
        let count = records.len();
        match self.request(Work::Append(records)).await {
            Ok(offsets) => offsets.into_iter().map(Ok).collect(),
            Err(TransportError::Unavailable(problem)) => {
                (0..count).map(|_| Err(TransportError::Unavailable(problem.clone()))).collect()
            }
            Err(_) => (0..count).map(|_| Err(TransportError::Closed)).collect(),
        }
    }

    async fn read(&self, partition: &Arc<Partition>, from: i64, limits: Limits) -> Result<Vec<Received>, TransportError> {
        let unreadable = |problem: String| TransportError::Unavailable(format!("{} from {from} on: {problem}", partition.id));
        let records =
            records::read(&self.readers, partition, from, limits).await.map_err(|error| unreadable(error.to_string()))?;
        if records.is_empty() {
            return Err(unreadable("records are missing from the file; restore the log from a backup".to_owned()));
        }
        Ok(records)
    }

    async fn register(&self, group: &Arc<str>, partitions: Vec<Arc<Partition>>) -> Result<(), TransportError> {
        let new: Vec<_> = partitions.into_iter().filter(|partition| !partition.is_registered(group)).collect();
        if new.is_empty() { Ok(()) } else { self.request(Work::Register(Arc::clone(group), new)).await.map(drop) }
    }

    fn commit(&self, group: &Arc<str>, offsets: Vec<(Arc<Partition>, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        self.commits.add(group, offsets)
    }

    async fn check(&self) -> Result<(), TransportError> {
        if self.stored.borrow().is_some_and(|stored| self.clock.now().since(stored) < RECENT) {
            return Ok(());
        }
        self.request(Work::Probe).await.map(drop)
    }

    async fn close(&self) {
        // The timeout is for a read whose future exists but is not polled any more: it would never return its connection.
        let _ = tokio::time::timeout(READ_PATIENCE, self.readers.close()).await;
        self.closing.send_replace(true);
        // The writer drops the sender when it has released the folder.
        let _ = self.stored.clone().wait_for(|_| false).await;
    }
}
