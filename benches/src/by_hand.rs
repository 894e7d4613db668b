//! The loops written by hand, without the framework: consume, claim in an inbox, update, write an outbox, commit, send, remove,
//! and commit the offsets.

use std::{collections::HashMap, time::Duration};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::{Header, Headers, OwnedHeaders, OwnedMessage},
    producer::{FutureProducer, FutureRecord},
};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{
    Error,
    measure::{Measured, Moment},
    world::{INPUT, OUTPUT, Paid, World},
};

/// The maximum number of messages in a transaction: the framework's default.
const BATCH: usize = 256;

const TABLES: &str = "
    CREATE TABLE inbox (source TEXT NOT NULL, id TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (source, id));
    CREATE TABLE outbox (id BIGSERIAL PRIMARY KEY, topic TEXT NOT NULL, key BYTEA, value BYTEA, headers BYTEA NOT NULL);";

/// How the payments of a batch are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// One statement for each payment.
    Each,
    /// One statement for all payments.
    Sum,
}

/// Measures the loop with one message in each transaction.
pub(crate) async fn one(world: &World, messages: usize) -> Result<Measured, Error> {
    run(world, messages, 1, Update::Each).await
}

/// Measures the loop with many messages in each transaction.
pub(crate) async fn many(world: &World, messages: usize, update: Update) -> Result<Measured, Error> {
    run(world, messages, BATCH, update).await
}

async fn run(world: &World, messages: usize, most: usize, update: Update) -> Result<Measured, Error> {
    let mut db = world.prepare().await?;
    sqlx::raw_sql(TABLES).execute(&mut db).await?;
    let (batches, mut receive) = tokio::sync::mpsc::channel(2);
    let (commits, offsets) = std::sync::mpsc::channel();
    let reader = Reader { consumer: consumer(world)?, most, messages, offsets };
    let reading = std::thread::spawn(move || reader.run(&batches));
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.kafka)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .create()?;
    let mut worker = Worker { producer, update, sent: Vec::new() };
    let (mut start, mut done) = (None, 0);
    while let Some(batch) = receive.recv().await {
        if start.is_none() {
            start = Some(Moment::now());
        }
        done += worker.handle(&mut db, &batch).await?;
        // The transaction is committed, so the reader can commit the offsets.
        let _ = commits.send(offsets_of(&batch)?);
        if done >= messages {
            break;
        }
    }
    let measured = start.ok_or("nothing was received")?.measure(done)?;
    drop((receive, commits));
    reading.join().map_err(|_| "the reader panicked")??;
    Ok(measured)
}

fn consumer(world: &World) -> Result<BaseConsumer, Error> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &world.kafka)
        .set("group.id", &world.name)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[INPUT])?;
    Ok(consumer)
}

/// The consumer, which polls on its own thread.
struct Reader {
    consumer: BaseConsumer,
    most: usize,
    messages: usize,
    offsets: std::sync::mpsc::Receiver<TopicPartitionList>,
}

impl Reader {
    fn run(self, batches: &tokio::sync::mpsc::Sender<Vec<OwnedMessage>>) -> Result<(), Error> {
        let mut taken = 0;
        while taken < self.messages {
            while let Ok(offsets) = self.offsets.try_recv() {
                self.consumer.commit(&offsets, CommitMode::Async)?;
            }
            let Some(first) = self.consumer.poll(Duration::from_millis(100)) else { continue };
            let mut batch = vec![first?.detach()];
            while batch.len() < self.most
                && let Some(next) = self.consumer.poll(Duration::ZERO)
            {
                batch.push(next?.detach());
            }
            taken += batch.len();
            if batches.blocking_send(batch).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn offsets_of(batch: &[OwnedMessage]) -> Result<TopicPartitionList, Error> {
    let mut last = HashMap::new();
    for message in batch {
        last.insert((message.topic(), message.partition()), message.offset() + 1);
    }
    let mut offsets = TopicPartitionList::new();
    for ((topic, partition), offset) in last {
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(offsets)
}

struct Worker {
    producer: FutureProducer,
    update: Update,
    /// Ids of outbox rows that Kafka has acknowledged. The next transaction removes them.
    sent: Vec<i64>,
}

impl Worker {
    async fn handle(&mut self, db: &mut PgConnection, batch: &[OwnedMessage]) -> Result<usize, Error> {
        let mut tx = db.begin().await?;
        if !self.sent.is_empty() {
            sqlx::query("DELETE FROM outbox WHERE id = ANY($1)").bind(std::mem::take(&mut self.sent)).execute(&mut *tx).await?;
        }
        let (sources, ids): (Vec<_>, Vec<_>) =
            batch.iter().map(|message| (header(message, "ce_source"), header(message, "ce_id"))).unzip();
        let new: Vec<String> = sqlx::query_scalar(
            "INSERT INTO inbox SELECT source, id, 0 FROM UNNEST($1::text[], $2::text[]) AS new (source, id)
             ON CONFLICT DO NOTHING RETURNING id",
        )
        .bind(sources)
        .bind(&ids)
        .fetch_all(&mut *tx)
        .await?;
        let new: std::collections::HashSet<_> = new.into_iter().collect();
        let fresh: Vec<&OwnedMessage> =
            batch.iter().zip(&ids).filter(|(_, id)| new.contains(*id)).map(|(message, _)| message).collect();
        let payments = fresh
            .iter()
            .map(|message| Ok(serde_json::from_slice(message.payload().unwrap_or_default())?))
            .collect::<Result<Vec<Paid>, Error>>()?;
        self.apply(&mut tx, &payments).await?;
        let (keys, values): (Vec<_>, Vec<_>) = payments
            .iter()
            .map(|payment| Ok((payment.account.clone().into_bytes(), serde_json::to_vec(payment)?)))
            .collect::<Result<Vec<_>, Error>>()?
            .into_iter()
            .unzip();
        let new_ids: Vec<String> = payments.iter().map(|_| Uuid::now_v7().to_string()).collect();
        let headers: Vec<Vec<u8>> = new_ids.iter().map(|id| serde_json::to_vec(&output_headers(id))).collect::<Result<_, _>>()?;
        let rows: Vec<i64> = sqlx::query_scalar(
            "INSERT INTO outbox (topic, key, value, headers)
             SELECT $1, key, value, headers FROM UNNEST($2::bytea[], $3::bytea[], $4::bytea[]) AS row (key, value, headers) RETURNING id",
        )
        .bind(OUTPUT)
        .bind(&keys)
        .bind(&values)
        .bind(&headers)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        self.send(&keys, &values, &new_ids).await?;
        self.sent = rows;
        Ok(batch.len())
    }

    async fn apply(&self, tx: &mut PgConnection, payments: &[Paid]) -> Result<(), Error> {
        match self.update {
            Update::Each => {
                for payment in payments {
                    sqlx::query("UPDATE accounts SET balance = balance + $1 WHERE id = $2")
                        .bind(payment.amount)
                        .bind(&payment.account)
                        .execute(&mut *tx)
                        .await?;
                }
            }
            Update::Sum => {
                let (accounts, amounts): (Vec<_>, Vec<_>) =
                    payments.iter().map(|payment| (payment.account.clone(), payment.amount)).unzip();
                sqlx::query(
                    "UPDATE accounts SET balance = balance + paid.amount FROM (
                         SELECT account, SUM(amount)::bigint AS amount FROM UNNEST($1::text[], $2::bigint[]) AS p (account, amount)
                         GROUP BY account
                     ) AS paid WHERE id = paid.account",
                )
                .bind(accounts)
                .bind(amounts)
                .execute(&mut *tx)
                .await?;
            }
        }
        Ok(())
    }

    async fn send(&self, keys: &[Vec<u8>], values: &[Vec<u8>], ids: &[String]) -> Result<(), Error> {
        let mut acknowledged = Vec::with_capacity(keys.len());
        for ((key, value), id) in keys.iter().zip(values).zip(ids) {
            let headers = output_headers(id)
                .into_iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            let record = FutureRecord::to(OUTPUT).key(key).payload(value).headers(headers);
            acknowledged.push(self.producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for report in acknowledged {
            report.await?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }
}

/// Returns the headers that the framework also writes.
fn output_headers(id: &str) -> [(&'static str, &str); 8] {
    [
        ("ce_specversion", "1.0"),
        ("ce_id", id),
        ("ce_source", "bench"),
        ("ce_type", "Applied"),
        ("ce_time", "2026-01-01T00:00:00.000Z"),
        ("content-type", "application/json"),
        ("ce_correlationid", id),
        ("ce_causationid", id),
    ]
}

fn header(message: &OwnedMessage, name: &str) -> String {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let value = headers.into_iter().find(|header| header.key == name).and_then(|header| header.value);
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}
