//! The README's program, with tables and goods, on a port that is free.

use readme::inventory::inventory;
use sagas::{
    prelude::*,
    store::Migration,
    transport::embedded::{Embedded, EmbeddedOptions},
};

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    name: "stock",
    sql: "CREATE TABLE stock (product TEXT PRIMARY KEY, available BIGINT NOT NULL); INSERT INTO stock VALUES ('tea', 3);",
}];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = Database::open("sqlite://data/inventory.db").await?;
    let log = Embedded::open("data/log", EmbeddedOptions::default()).await?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}", listener.local_addr()?);
    let in_time = App::new("shop").service(inventory(database).migrations(SCHEMA).listen(listener)).run(log).await?;
    println!("in time: {in_time}");
    Ok(())
}
