//! The topics and tables that all variants use: a topic of payments, accounts, and a topic of applied payments.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
    types::RDKafkaErrorCode,
};
use sagas::prelude::*;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{Error, Options, Variant, by_hand, framework, measure::Measured};

/// The number of accounts among which the payments are spread.
pub(crate) const ACCOUNTS: usize = 1_000;
/// The number of partitions of each topic.
pub(crate) const PARTITIONS: i32 = 6;
/// The source of the payments (`ce_source`).
pub(crate) const SOURCE: &str = "bench";

/// The topic of payments.
pub(crate) const INPUT: &str = "sagas-bench-payments";
/// The topic of applied payments.
pub(crate) const OUTPUT: &str = "sagas-bench-applied";

/// A payment into an account.
#[event(topic = "sagas-bench-payments", key = account)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Paid {
    /// The account, which is also the key.
    pub(crate) account: String,
    /// The amount in minor units.
    pub(crate) amount: i64,
    /// Text that gives the record a typical size.
    pub(crate) note: String,
}

/// The event that a payment was applied.
#[event(topic = "sagas-bench-applied", key = account)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// As in [`Paid`].
    pub(crate) account: String,
    /// As in [`Paid`].
    pub(crate) amount: i64,
    /// As in [`Paid`].
    pub(crate) note: String,
}

impl From<Paid> for Applied {
    fn from(Paid { account, amount, note }: Paid) -> Self {
        Self { account, amount, note }
    }
}

/// Runs one variant, in its own schema and consumer group.
pub(crate) async fn run(options: &Options, variant: Variant) -> Result<Measured, Error> {
    let name = format!("bench_{}", Uuid::new_v4().simple());
    let world = World { kafka: options.kafka.clone(), postgres: options.postgres.clone(), name };
    let messages = variant.messages(options);
    let measured = match variant {
        Variant::HandOne => by_hand::one(&world, messages).await?,
        Variant::HandMany => by_hand::many(&world, messages, by_hand::Update::Each).await?,
        Variant::HandSum => by_hand::many(&world, messages, by_hand::Update::Sum).await?,
        Variant::Handler => framework::run(&world, messages, framework::handler()).await?,
        Variant::BatchHandler => framework::run(&world, messages, framework::batch_handler()).await?,
    };
    world.check(messages).await?;
    world.tidy().await?;
    Ok(measured)
}

/// The servers and names of one run.
pub(crate) struct World {
    pub(crate) kafka: String,
    pub(crate) postgres: String,
    /// The name of the schema and of the consumer group.
    pub(crate) name: String,
}

impl World {
    /// Connects to the run's schema.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Error> {
        let mut connection = PgConnection::connect(&self.postgres).await?;
        let path = format!("SET search_path TO {}", self.name);
        sqlx::query(sqlx::AssertSqlSafe(path)).execute(&mut connection).await?;
        Ok(connection)
    }

    /// Creates the schema with its accounts.
    pub(crate) async fn prepare(&self) -> Result<PgConnection, Error> {
        let mut connection = PgConnection::connect(&self.postgres).await?;
        let schema = format!("CREATE SCHEMA IF NOT EXISTS {}", self.name);
        sqlx::query(sqlx::AssertSqlSafe(schema)).execute(&mut connection).await?;
        let mut connection = self.connect().await?;
        sqlx::raw_sql("CREATE TABLE accounts (id TEXT PRIMARY KEY, balance BIGINT NOT NULL) WITH (fillfactor = 50)")
            .execute(&mut connection)
            .await?;
        let accounts: Vec<String> = (0..ACCOUNTS).map(account).collect();
        sqlx::query("INSERT INTO accounts SELECT id, 0 FROM UNNEST($1::text[]) AS id")
            .bind(accounts)
            .execute(&mut connection)
            .await?;
        Ok(connection)
    }

    /// Checks that every payment was applied.
    async fn check(&self, messages: usize) -> Result<(), Error> {
        let mut connection = self.connect().await?;
        let sum: i64 = sqlx::query_scalar("SELECT CAST(SUM(balance) AS BIGINT) FROM accounts").fetch_one(&mut connection).await?;
        let expected = i64::try_from(messages)?;
        // A variant that stops in the middle of the topic may have applied a few more.
        if sum < expected {
            return Err(format!("the accounts hold {sum}, {expected} were paid in").into());
        }
        Ok(())
    }

    async fn tidy(&self) -> Result<(), Error> {
        let mut connection = PgConnection::connect(&self.postgres).await?;
        let schema = format!("DROP SCHEMA {} CASCADE", self.name);
        sqlx::query(sqlx::AssertSqlSafe(schema)).execute(&mut connection).await?;
        Ok(())
    }
}

fn account(number: usize) -> String {
    format!("account-{number:04}")
}

/// Recreates the topics, and writes `messages` payments of 1 to the first, spread over the accounts.
pub(crate) async fn fill(kafka: &str, messages: usize) -> Result<(), Error> {
    remove(kafka).await?;
    for topic in [INPUT, OUTPUT] {
        create(kafka, topic).await?;
    }
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", kafka).set("linger.ms", "5").create()?;
    for number in 0..messages {
        let account = account(number.wrapping_mul(7_919) % ACCOUNTS);
        let payment = Paid { account: account.clone(), amount: 1, note: "x".repeat(200) };
        let value = serde_json::to_vec(&payment)?;
        let id = Uuid::now_v7().to_string();
        let headers = [("ce_specversion", "1.0"), ("ce_id", id.as_str()), ("ce_source", SOURCE), ("ce_type", Paid::NAME)]
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut record = BaseRecord::to(INPUT).key(&account).payload(&value).headers(headers);
        while let Err((_, back)) = producer.send(record) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            record = back;
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}

async fn create(kafka: &str, topic: &str) -> Result<(), Error> {
    let topics = [NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1))];
    // A deleted topic still exists for a moment.
    for _ in 0..100 {
        match admin(kafka)?.create_topics(&topics, &AdminOptions::new()).await?.remove(0) {
            Ok(_) => return Ok(()),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err((_, error)) => return Err(format!("topic {topic}: {error}").into()),
        }
    }
    Err(format!("topic {topic} does not go away").into())
}

/// Removes the topics.
pub(crate) async fn remove(kafka: &str) -> Result<(), Error> {
    admin(kafka)?.delete_topics(&[INPUT, OUTPUT], &AdminOptions::new()).await?;
    Ok(())
}

fn admin(kafka: &str) -> Result<AdminClient<DefaultClientContext>, Error> {
    Ok(ClientConfig::new().set("bootstrap.servers", kafka).create()?)
}
