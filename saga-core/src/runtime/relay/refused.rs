//! Records that the log refuses permanently. Each is kept according to its kind:
//!
//! - An event becomes a dead letter, and the instance of its saga needs attention.
//! - The copy of a dead letter is already in the database: the dead letter is marked as missing from its topic.
//! - A message between services about a saga is passed on in another way, or reported as a condition.

use std::sync::Arc;

use super::{
    super::{
        conditions::Severity,
        core::Staged,
        poison::is_permanent,
        saga::unsent::{self, Unsent},
    },
    Relay,
};
use crate::{
    engine::saga::GivenUp,
    message::{Envelope, Event, Header, Received, Record, headers},
    saga::{InstanceKey, RetryDeadLetter, StepGivenUp},
    store::{DeadLetter, DeadLetterId, DeadLetterState, OutboxId, StoreError, StoreTx},
    time::Timestamp,
};

/// The condition that services were not informed of something about a saga, because the log refuses the message.
const SAGA_UNINFORMED: &str = "saga_uninformed";
/// The condition that the database rejects a record that the log has refused.
const REFUSED_RECORD_NOT_STORED: &str = "refused_record_not_stored";
/// The length, in bytes, to which an error text in a refused message to a tracker is shortened.
const SHORT: usize = 200;

/// The kind of a record in the outbox.
#[derive(Debug)]
enum Kind {
    /// The copy of this dead letter.
    Copy(DeadLetterId),
    /// Informs a tracker that a message was given up.
    GivenUp(StepGivenUp),
    /// Asks a participant to retry a dead letter.
    Retry(RetryDeadLetter),
    /// Any other record.
    Event,
}

impl Relay {
    /// Keeps a record that the log refuses permanently, and removes it from the outbox.
    pub(super) async fn refused(&mut self, id: OutboxId, record: Record, reason: &str) {
        let (topic, name) = (record.topic.clone(), self.core.name_in_log(&record.topic).into_owned());
        tracing::error!(service = &*self.core.name, topic = name, reason, "the log refuses a record for good");
        let kept = match self.keep(id, &record, reason, true).await {
            Err(error) if is_permanent(&error) => {
                tracing::error!(service = &*self.core.name, topic = name, %error, "the instance of a refused record cannot be updated");
                self.keep(id, &record, reason, false).await
            }
            kept => kept,
        };
        let now = self.core.clock.now();
        match kept {
            Ok(()) => {
                self.held.forget(id);
                self.core.ledger().sent(id);
                self.core.conditions.clear(REFUSED_RECORD_NOT_STORED, &name, now);
            }
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "a refused record could not be kept; trying again");
                if is_permanent(&error) {
                    let detail = format!(
                        "a record of `{name}` that the log refuses ({reason}) cannot be kept as a dead letter either: {error}; it stays \
                         in the outbox: fix the database error, or the reason why the log refuses the record"
                    );
                    self.core.conditions.raise(REFUSED_RECORD_NOT_STORED, &name, Severity::Critical, detail, now);
                }
                self.core.ledger().failed(id);
                self.topic_failed(topic, reason);
            }
        }
    }

    /// Keeps `record` and, if `attention` is set, sets its instances to need attention, in one transaction.
    async fn keep(&mut self, row: OutboxId, record: &Record, reason: &str, attention: bool) -> Result<(), StoreError> {
        let core = self.core.clone();
        let now = core.clock.now();
        let mut tx = core.store().begin().await?;
        let staged = match kind(&core.dead_letter_topic(), record) {
            Kind::Copy(letter) => self.mark(&mut *tx, &letter, &record.topic, reason).await?,
            Kind::GivenUp(given_up) => self.given_up(&mut *tx, given_up, record, reason, attention, now).await?,
            Kind::Retry(retry) => self.retry(&mut *tx, row, retry, record, reason, attention, now).await?,
            Kind::Event => {
                let letter = self.letter(record, format!("the log refused it: {reason}"), now);
                let why = format!("the log refused it: {reason}");
                let unsent = Unsent { row, record, letter: Some(&letter.id), why: &why };
                let signals = if attention {
                    unsent::require_attention(&core, &mut *tx, std::slice::from_ref(&unsent), now).await?
                } else {
                    Vec::new()
                };
                tx.insert_dead_letters(&core.name, std::slice::from_ref(&letter)).await?;
                let staged = core.stage(&mut *tx, &signals).await?;
                core.commit(tx, staged).await?;
                core.series.open_dead_letters.add(1.0);
                return Ok(());
            }
        };
        core.commit(tx, staged).await
    }

    /// Returns the dead letter for a record that the log does not have.
    pub(super) fn letter(&self, record: &Record, error: String, now: Timestamp) -> DeadLetter {
        let received = Received { record: Arc::new(record.clone()), partition: -1, offset: -1 };
        DeadLetter {
            id: self.core.ids.uuid(now).into(),
            event_type: Envelope::by_position(&received, now).event_type,
            received,
            error,
            attempts: 1,
            at: now,
            state: DeadLetterState::Open,
            unpublished: None,
        }
    }

    /// Marks a dead letter as missing from its topic.
    async fn mark(&self, tx: &mut dyn StoreTx, letter: &DeadLetterId, topic: &str, why: &str) -> Result<Staged, StoreError> {
        let core = &self.core;
        let why = format!("the topic `{}` has no copy of it: {why}", core.name_in_log(topic));
        if !tx.mark_unpublished(&core.name, letter, &why).await? {
            tracing::warn!(
                service = &*core.name,
                dead_letter = letter.as_str(),
                why,
                "the dead letter is not in the database any more"
            );
        }
        core.stage(tx, &[]).await
    }

    /// Handles a refused message that informs a tracker.
    async fn given_up(
        &mut self,
        tx: &mut dyn StoreTx,
        event: StepGivenUp,
        record: &Record,
        reason: &str,
        attention: bool,
        now: Timestamp,
    ) -> Result<Staged, StoreError> {
        let core = self.core.clone();
        let key = InstanceKey { saga: event.saga.clone(), id: event.id.clone() };
        if attention && core.sagas.tracked(&event.saga).is_some() {
            let (given_up, _) = super::super::saga::stopped(&event);
            unsent::require_attention_here(&core, tx, &[key], &given_up, now).await?;
            return core.stage(tx, &[]).await;
        }
        if let Some(shorter) = shorter(&event, record) {
            return core.stage(tx, &[shorter]).await;
        }
        let what = format!("the tracker of {} {} was not informed that {} was given up", key.saga, key.id, event.step);
        self.uninformed(record, &what, reason, now);
        match event.dead_letter.as_str() {
            "" => core.stage(tx, &[]).await,
            letter => self.mark(tx, &DeadLetterId::new(letter), &record.topic, &format!("{what}: {reason}")).await,
        }
    }

    /// Handles a refused message that asks for the retry of a dead letter.
    #[expect(clippy::too_many_arguments, reason = "the data of one transaction")]
    async fn retry(
        &mut self,
        tx: &mut dyn StoreTx,
        row: OutboxId,
        event: RetryDeadLetter,
        record: &Record,
        reason: &str,
        attention: bool,
        now: Timestamp,
    ) -> Result<Staged, StoreError> {
        let core = self.core.clone();
        let what = format!("{} was not informed that its dead letter {} is to be retried", event.service, event.dead_letter);
        let sagas = core.sagas.tracked.iter().map(|tracked| tracked.definition.name.clone());
        let keys: Vec<_> = sagas.map(|saga| InstanceKey { saga, id: event.id.clone() }).collect();
        let given_up = GivenUp {
            step: String::new(),
            undo: false,
            service: event.service,
            dead_letter: event.dead_letter,
            reason: format!("{what}: {reason}"),
            event: Some(crate::engine::saga::Unsent { name: RetryDeadLetter::NAME.to_owned(), row: Some(row) }),
        };
        if !attention || !unsent::require_attention_here(&core, tx, &keys, &given_up, now).await? {
            self.uninformed(record, &what, reason, now);
        }
        core.stage(tx, &[]).await
    }

    fn uninformed(&mut self, record: &Record, what: &str, reason: &str, now: Timestamp) {
        let (topic, name) = (&record.topic, self.core.name_in_log(&record.topic));
        let detail = format!("{what}, because the log refuses the message on `{name}`: {reason}");
        self.core.conditions.raise(SAGA_UNINFORMED, &name, Severity::Warning, detail, now);
        self.uninformed.insert(topic.clone());
    }

    /// Records that a topic has stored a record.
    pub(super) fn topic_recovered(&mut self, topic: &str) {
        self.mended(topic);
        if self.uninformed.remove(topic) {
            self.core.conditions.clear(SAGA_UNINFORMED, &self.core.name_in_log(topic), self.core.clock.now());
        }
    }
}

fn kind(dead_letter_topic: &str, record: &Record) -> Kind {
    let value = record.value.as_deref().unwrap_or_default();
    let letter = (record.topic == dead_letter_topic).then(|| record.header(headers::DLT_LETTER)).flatten();
    match (letter, record.topic.as_str()) {
        (Some(letter), _) => Kind::Copy(DeadLetterId::new(letter)),
        (None, StepGivenUp::TOPIC) => serde_json::from_slice(value).map_or(Kind::Event, Kind::GivenUp),
        (None, RetryDeadLetter::TOPIC) => serde_json::from_slice(value).map_or(Kind::Event, Kind::Retry),
        (None, _) => Kind::Event,
    }
}

/// Returns the same message with a shorter error text; `None` if the text is short already.
fn shorter(event: &StepGivenUp, record: &Record) -> Option<Record> {
    if event.error.len() <= SHORT {
        return None;
    }
    let cut = event.error.char_indices().map(|(at, _)| at).take_while(|at| *at <= SHORT).last().unwrap_or_default();
    let event = StepGivenUp { error: format!("{}…", &event.error[..cut]), ..event.clone() };
    let value = serde_json::to_vec(&event).ok()?;
    // The `tracestate` header is omitted: it comes from other systems, which determine its length.
    let headers: Vec<Header> = record.headers.iter().filter(|header| header.name != headers::TRACESTATE).cloned().collect();
    Some(Record { value: Some(value.into()), headers, ..record.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(topic: &str, headers: &[(&str, &str)], value: &str) -> Record {
        Record {
            topic: topic.to_owned(),
            key: None,
            value: Some(value.to_owned().into()),
            headers: headers.iter().map(|(name, value)| Header::text(*name, *value)).collect(),
            timestamp: Timestamp::from_millis(0).into(),
        }
    }

    fn given_up(error: &str) -> StepGivenUp {
        let text = |text: &str| text.to_owned();
        StepGivenUp {
            saga: text("PlaceOrder"),
            id: text("7"),
            step: text("Pay"),
            undo: false,
            service: text("payment"),
            dead_letter: text("d"),
            error: text(error),
            attempts: 1,
            event: None,
        }
    }

    #[test]
    fn a_copy_of_a_dead_letter_is_no_event() {
        let letter = [(headers::DLT_LETTER, "d-1")];
        let table = [
            (record("payment.dlt", &letter, ""), "Copy"),
            (record("payment.dlt", &[], ""), "Event"),
            (record("orders", &letter, ""), "Event"),
            (record(StepGivenUp::TOPIC, &[], "no JSON"), "Event"),
            (record(StepGivenUp::TOPIC, &[], &serde_json::to_string(&given_up("e")).unwrap_or_default()), "GivenUp"),
            (record(RetryDeadLetter::TOPIC, &[], r#"{"id":"7","service":"payment","dead_letter":"d"}"#), "Retry"),
        ];
        for (record, expected) in table {
            let kind = format!("{:?}", kind("payment.dlt", &record));
            assert!(kind.starts_with(expected), "{record:?}: {kind}");
        }
    }

    #[test]
    fn a_message_is_shortened_once() {
        let long = given_up(&"é".repeat(1_000));
        let shorter_once = shorter(&long, &record(StepGivenUp::TOPIC, &[(headers::TRACESTATE, "x")], "")).map(|record| {
            assert_eq!(record.headers, []);
            serde_json::from_slice::<StepGivenUp>(record.value.as_deref().unwrap_or_default()).map(|event| event.error)
        });
        let Some(Ok(error)) = shorter_once else { panic!("{shorter_once:?}") };
        assert!(error.len() <= SHORT + 4, "{error}");
        assert_eq!(shorter(&given_up("short"), &record(StepGivenUp::TOPIC, &[], "")), None);
    }
}
