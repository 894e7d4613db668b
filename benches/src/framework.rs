//! The variants with the framework.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use sagas::{
    handler::Handler,
    kafka::{Kafka, KafkaConfig},
    port::transport::Transport,
    prelude::*,
};

use crate::{
    Error,
    measure::{Measured, Moment},
    world::{Applied, OUTPUT, PARTITIONS, Paid, World},
};

/// The time when the first message was handled.
#[derive(Clone, Default)]
struct Start(Arc<OnceLock<Moment>>);

impl Start {
    fn mark(&self) {
        self.0.get_or_init(Moment::now);
    }
}

#[handler]
async fn apply(On(paid): On<Paid>, mut tx: Tx, State(start): State<Start>) -> Result<Applied, Failure> {
    start.mark();
    sqlx::query("UPDATE accounts SET balance = balance + $1 WHERE id = $2")
        .bind(paid.amount)
        .bind(&paid.account)
        .execute(tx.postgres().await?)
        .await?;
    Ok(Applied::from(paid))
}

#[handler]
async fn apply_all(Batch(payments): Batch<Paid>, mut tx: Tx, State(start): State<Start>) -> Result<Vec<Applied>, Failure> {
    start.mark();
    let (accounts, amounts): (Vec<_>, Vec<_>) = payments.iter().map(|(paid, _)| (paid.account.clone(), paid.amount)).unzip();
    // The updated accounts are sorted, so that two transactions cannot deadlock.
    sqlx::query(
        "UPDATE accounts SET balance = balance + paid.amount FROM (
             SELECT account, SUM(amount)::bigint AS amount FROM UNNEST($1::text[], $2::bigint[]) AS p (account, amount)
             GROUP BY account
         ) AS paid WHERE id = paid.account",
    )
    .bind(accounts)
    .bind(amounts)
    .execute(tx.postgres().await?)
    .await?;
    Ok(payments.into_iter().map(|(paid, _)| Applied::from(paid)).collect())
}

/// Returns the handler that takes one message.
pub(crate) fn handler() -> Vec<Handler> {
    handlers![apply].into_iter().collect()
}

/// Returns the handler that takes a batch.
pub(crate) fn batch_handler() -> Vec<Handler> {
    handlers![apply_all].into_iter().collect()
}

/// Runs a service with `handlers` until it has published an answer to each of `messages`.
pub(crate) async fn run(world: &World, messages: usize, handlers: Vec<Handler>) -> Result<Measured, Error> {
    drop(world.prepare().await?);
    let watcher = Watcher::new(world)?;
    let goal = watcher.written()? + i64::try_from(messages)?;
    let separator = if world.postgres.contains('?') { '&' } else { '?' };
    let database = Database::open(&format!("{}{separator}schema={}", world.postgres, world.name)).await?;
    let start = Start::default();
    let service = Service::new(&world.name, database).state(start.clone()).handlers(handlers);
    let config: KafkaConfig = format!("kafka://{}", world.kafka).parse()?;
    let transport: Arc<dyn Transport> = Kafka::connect(config).await?;
    let handle = App::new("bench").service(service).start(transport.clone()).await?;
    while watcher.written()? < goal {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let measured = start.0.get().ok_or("nothing was handled")?.measure(messages)?;
    handle.stop().await;
    transport.close().await;
    Ok(measured)
}

/// Watches how many records the output topic contains.
struct Watcher(BaseConsumer);

impl Watcher {
    fn new(world: &World) -> Result<Self, Error> {
        Ok(Self(ClientConfig::new().set("bootstrap.servers", &world.kafka).set("group.id", "bench-watcher").create()?))
    }

    fn written(&self) -> Result<i64, Error> {
        let ends = (0..PARTITIONS).map(|partition| self.0.fetch_watermarks(OUTPUT, partition, Duration::from_secs(10)));
        Ok(ends.map(|ends| ends.map(|(_, end)| end)).sum::<Result<i64, _>>()?)
    }
}
