//! Settling many dead letters: the part that a running service and the program `sagas` share.
//!
//! ```
//! # use saga_core::{store::{Bulk, Database, DeadLetterFilter, Settle, settle}, time::Timestamp};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (database, now) = (Database::open("memory:").await?, Timestamp::from_millis(0));
//! let store = database.store();
//! let mut bulk = Bulk::new(&DeadLetterFilter { topic: Some("orders".into()), ..DeadLetterFilter::default() }, 1_000);
//! while let Some(heads) = bulk.next(&**store, "payment").await? {
//!     let letters = Settle::Discard.letters(&**store, "payment", &heads).await?;
//!     let mut tx = store.begin().await?;
//!     let settled = settle(&mut *tx, "payment", Settle::Discard, &heads, letters, now).await?;
//!     tx.commit().await?;
//!     bulk.settled(settled.letters.len());
//! }
//! # Ok(()) }
//! ```

use std::collections::{HashMap, HashSet};

use super::{
    DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterState, LetterHead, ParkedId, ParkedMessage, Store, StoreError, StoreTx,
};
use crate::{message::Record, time::Timestamp};

/// The largest number of dead letters settled in one transaction, so that other transactions do not wait long.
const LETTERS: usize = 200;
/// The largest total size of their values in one transaction, in bytes, which bounds memory. The first dead letter of a batch can exceed
/// it.
const BYTES: usize = 8 << 20;

/// How an operator settles dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Delivers them to their handlers again.
    Retry,
    /// Settles them without another attempt.
    Discard,
}

impl Settle {
    /// Returns the state of the dead letters after they are settled.
    pub fn state(self) -> DeadLetterState {
        match self {
            Self::Retry => DeadLetterState::Retried,
            Self::Discard => DeadLetterState::Discarded,
        }
    }

    /// Returns the dead letters with these heads that [`settle`] needs: all for a retry, none for a discard.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn letters(self, store: &dyn Store, service: &str, heads: &[LetterHead]) -> Result<Vec<DeadLetter>, StoreError> {
        match self {
            Self::Retry => {
                let ids: Vec<_> = heads.iter().map(|head| head.id.clone()).collect();
                store.dead_letters_by_id(service, &ids).await
            }
            Self::Discard => Ok(Vec::new()),
        }
    }
}

/// The open dead letters that match a filter, in batches that fit into a transaction, ordered by position. Each dead letter is in one batch
/// only, even if its message becomes a dead letter again before the last batch.
#[derive(Debug)]
pub struct Bulk {
    filter: DeadLetterFilter,
    after: Option<LetterHead>,
    room: u64,
}

impl Bulk {
    /// Starts with at most `limit` of the dead letters that match `filter`.
    pub fn new(filter: &DeadLetterFilter, limit: u64) -> Self {
        Self { filter: filter.and_open(), after: None, room: limit }
    }

    /// Returns the next batch; `None` when there are no more, or when the limit is reached.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next(&mut self, store: &dyn Store, service: &str) -> Result<Option<Vec<LetterHead>>, StoreError> {
        let most = u32::try_from(self.room.min(LETTERS as u64)).unwrap_or(u32::MAX);
        if most == 0 {
            return Ok(None);
        }
        let mut heads = store.dead_letter_heads(service, &self.filter, self.after.as_ref(), most).await?;
        let mut bytes = 0_usize;
        let fit = heads.iter().take_while(|head| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(head.bytes);
            first || bytes <= BYTES
        });
        let fit = fit.count();
        heads.truncate(fit);
        self.after = heads.last().cloned().or_else(|| self.after.take());
        Ok((!heads.is_empty()).then_some(heads))
    }

    /// Reports how many dead letters of the last batch were settled. They count towards the limit.
    pub fn settled(&mut self, letters: usize) {
        self.room = self.room.saturating_sub(letters as u64);
    }
}

/// The result of settling a batch.
#[derive(Debug, Default)]
pub struct Settled {
    /// The dead letters that were settled, and whether they held their keys.
    pub letters: Vec<(LetterHead, bool)>,
    /// Records that the log refused to store, each with its dead letter. They are published again: the caller must write them to the
    /// outbox.
    pub unsent: Vec<(DeadLetterId, Record)>,
}

/// Settles those of the dead letters `heads` that are open. `letters` is the result of [`Settle::letters`].
///
/// # Delivery
/// A retried message is parked, due at `now`, behind the parked messages of its key. Messages of one key are parked in the order of
/// `heads`. If the dead letter holds its key, a retried message becomes the first message of the key again; after a discard, the key
/// continues without it.
///
/// # Errors
/// When the transaction is broken.
pub async fn settle(
    tx: &mut dyn StoreTx,
    service: &str,
    how: Settle,
    heads: &[LetterHead],
    letters: Vec<DeadLetter>,
    now: Timestamp,
) -> Result<Settled, StoreError> {
    let mut whole: HashMap<DeadLetterId, DeadLetter> = letters.into_iter().map(|letter| (letter.id.clone(), letter)).collect();
    // A dead letter that was removed in the meantime is not settled.
    let heads: Vec<_> = heads.iter().filter(|head| how == Settle::Discard || whole.contains_key(&head.id)).cloned().collect();
    let ids: Vec<_> = heads.iter().map(|head| head.id.clone()).collect();
    let moved = tx.settle_dead_letters(service, &ids, how.state(), now).await?;
    let heads: Vec<_> = heads.into_iter().zip(moved).filter_map(|(head, moved)| moved.then_some(head)).collect();
    let received: Vec<_> = heads.iter().filter(|head| head.was_received()).cloned().collect();
    let held = if received.is_empty() { Vec::new() } else { tx.holding(service, &received).await? };
    let parked: Vec<ParkedId> = held.iter().map(|(_, parked)| *parked).collect();
    let held: HashSet<DeadLetterId> = held.into_iter().map(|(letter, _)| letter).collect();
    let mut unsent = Vec::new();
    match how {
        Settle::Discard if parked.is_empty() => {}
        Settle::Discard => drop(tx.unpark(&parked).await?),
        Settle::Retry => {
            if !parked.is_empty() {
                tx.release(&parked, now).await?;
            }
            let mut messages = Vec::new();
            for head in heads.iter().filter(|head| !held.contains(&head.id)) {
                match whole.remove(&head.id) {
                    Some(letter) if head.was_received() => messages.push(ParkedMessage {
                        id: 0,
                        received: letter.received,
                        attempts: 0,
                        due: now,
                        error: String::new(),
                        seen: now,
                    }),
                    Some(letter) => unsent.push((letter.id, (*letter.received.record).clone())),
                    None => {}
                }
            }
            if !messages.is_empty() {
                tx.park(service, &messages).await?;
            }
        }
    }
    let letters = heads.into_iter().map(|head| (held.contains(&head.id), head)).map(|(held, head)| (head, held)).collect();
    Ok(Settled { letters, unsent })
}
