//! A ledger that reads records of Java programs: payments with their own `ce_type`, and transfers of a system without CloudEvents
//! headers.

use std::sync::Arc;

use sagas::{message::Raw, prelude::*};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

/// The event `com.bank.PaymentReceived` of the Java service `billing`, with its field names.
#[event(topic = "payments", name = "com.bank.PaymentReceived", key = account)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentReceived {
    pub account: String,
    pub amount_cents: i64,
    #[serde(default)]
    pub reference: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Transfer {
    account: String,
    cents: i64,
}

/// The channel for entries.
pub struct Book(pub UnboundedSender<(String, i64)>);

#[handler]
async fn received(On(payment): On<PaymentReceived>, State(book): State<Arc<Book>>) -> Result<(), Failure> {
    book.0.send((payment.account, payment.amount_cents)).map_err(|_| Failure::retry("the book is closed"))
}

/// The header `kind` identifies a record; only transfers are handled.
#[handler(topic = "transfers")]
async fn transferred(On(record): On<Raw>, State(book): State<Arc<Book>>) -> Result<(), Failure> {
    if record.header("kind") != Some("transfer") {
        return Ok(());
    }
    let transfer: Transfer = record.json().map_err(Failure::Dead)?;
    book.0.send((transfer.account, transfer.cents)).map_err(|_| Failure::retry("the book is closed"))
}

pub fn ledger(database: Database, book: Arc<Book>) -> Service {
    Service::new("ledger", database).state(book).handlers(handlers![received, transferred])
}
