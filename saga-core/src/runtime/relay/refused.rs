//! Records that the log refuses for good. Each is kept, by what it is:
//!
//! - an event becomes a dead letter, and the instance of its flow needs attention;
//! - the copy of a dead letter is in the database already: the letter gets a note that its topic does not have it;
//! - what services tell each other of a flow is told in another way, or shown here.

use std::sync::Arc;

use super::{
    super::{
        conditions::Severity,
        core::Staged,
        saga::unsent::{self, Unsent},
        suspicion::is_refusal,
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

/// The flows of others were not told something, because the log refuses the message.
const FLOW_UNINFORMED: &str = "flow_uninformed";
/// The database does not take what the log has refused.
const REFUSED_UNKEPT: &str = "refused_record_unkept";
/// The longest error text in a message to a tracker that was refused with a longer one, in bytes.
const SHORT: usize = 200;

/// What a record of the outbox is.
#[derive(Debug)]
enum Kind {
    /// The copy of this dead letter.
    Copy(DeadLetterId),
    /// Tells a tracker that something was given up.
    GivenUp(StepGivenUp),
    /// Tells a participant to try a dead letter again.
    Retry(RetryDeadLetter),
    /// Everything else.
    Event,
}

impl Relay {
    /// Keeps a record that the log will never take, and takes it out of the outbox.
    pub(super) async fn refused(&mut self, id: OutboxId, record: Record, reason: &str) {
        tracing::error!(service = &*self.core.name, topic = record.topic, reason, "the log refuses a record for good");
        let topic = record.topic.clone();
        let kept = match self.keep(id, &record, reason, true).await {
            Err(error) if is_refusal(&error) => {
                tracing::error!(service = &*self.core.name, topic, %error, "the flow of a refused record cannot be told");
                self.keep(id, &record, reason, false).await
            }
            kept => kept,
        };
        let now = self.core.clock.now();
        match kept {
            Ok(()) => {
                self.held.forget(id);
                self.core.ledger().sent(id);
                self.core.conditions.clear(REFUSED_UNKEPT, &topic, now);
            }
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "a refused record could not be kept; trying again");
                if is_refusal(&error) {
                    let detail = format!(
                        "a record of `{topic}` that the log refuses ({reason}) cannot be kept as a dead letter either: {error}; it stays \
                         in the outbox: mend the database, or what the log refuses"
                    );
                    self.core.conditions.raise(REFUSED_UNKEPT, &topic, Severity::Critical, detail, now);
                }
                self.core.ledger().failed(id);
                self.topic_failed(topic, reason);
            }
        }
    }

    /// Keeps `record`, and, if `flows`, has the instances that it is of need attention, in one transaction.
    async fn keep(&mut self, row: OutboxId, record: &Record, reason: &str, flows: bool) -> Result<(), StoreError> {
        let core = self.core.clone();
        let now = core.clock.now();
        let mut tx = core.store().begin().await?;
        let staged = match kind(&core.dead_letter_topic(), record) {
            Kind::Copy(letter) => self.mark(&mut *tx, &letter, &record.topic, reason).await?,
            Kind::GivenUp(given_up) => self.given_up(&mut *tx, given_up, record, reason, flows, now).await?,
            Kind::Retry(retry) => self.retry(&mut *tx, row, retry, record, reason, flows, now).await?,
            Kind::Event => {
                let letter = self.letter(record, format!("the log refused it: {reason}"), now);
                let why = format!("the log refused it: {reason}");
                let unsent = Unsent { row, record, letter: Some(&letter.id), why: &why };
                let signals =
                    if flows { unsent::tell(&core, &mut *tx, std::slice::from_ref(&unsent), now).await? } else { Vec::new() };
                tx.bury(&core.name, std::slice::from_ref(&letter)).await?;
                let staged = core.stage(&mut *tx, &signals).await?;
                core.commit(tx, staged).await?;
                core.series.dead_open.add(1.0);
                return Ok(());
            }
        };
        core.commit(tx, staged).await
    }

    /// The dead letter of a record that the log does not have.
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

    /// Notes at a dead letter what the log does not have of it.
    async fn mark(&self, tx: &mut dyn StoreTx, letter: &DeadLetterId, topic: &str, why: &str) -> Result<Staged, StoreError> {
        let core = &self.core;
        let why = format!("the topic `{topic}` does not have it: {why}");
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

    /// What the log does not have is that something was given up.
    async fn given_up(
        &mut self,
        tx: &mut dyn StoreTx,
        event: StepGivenUp,
        record: &Record,
        reason: &str,
        flows: bool,
        now: Timestamp,
    ) -> Result<Staged, StoreError> {
        let core = self.core.clone();
        let key = InstanceKey { saga: event.saga.clone(), id: event.id.clone() };
        if flows && core.sagas.tracked(&event.saga).is_some() {
            let (given_up, _) = super::super::saga::stopped(&event);
            unsent::tell_here(&core, tx, &[key], &given_up, now).await?;
            return core.stage(tx, &[]).await;
        }
        if let Some(shorter) = shorter(&event, record) {
            return core.stage(tx, &[shorter]).await;
        }
        let what = format!("the tracker of {} {} does not know that {} was given up", key.saga, key.id, event.step);
        self.uninformed(record, &what, reason, now);
        match event.dead_letter.as_str() {
            "" => core.stage(tx, &[]).await,
            letter => self.mark(tx, &DeadLetterId::new(letter), &record.topic, &format!("{what}: {reason}")).await,
        }
    }

    /// What the log does not have is that a dead letter is to be tried again.
    #[expect(clippy::too_many_arguments, reason = "what one transaction has at hand")]
    async fn retry(
        &mut self,
        tx: &mut dyn StoreTx,
        row: OutboxId,
        event: RetryDeadLetter,
        record: &Record,
        reason: &str,
        flows: bool,
        now: Timestamp,
    ) -> Result<Staged, StoreError> {
        let core = self.core.clone();
        let what = format!("{} does not know that its dead letter {} is to be tried again", event.service, event.dead_letter);
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
        if !flows || !unsent::tell_here(&core, tx, &keys, &given_up, now).await? {
            self.uninformed(record, &what, reason, now);
        }
        core.stage(tx, &[]).await
    }

    fn uninformed(&mut self, record: &Record, what: &str, reason: &str, now: Timestamp) {
        let topic = &record.topic;
        let detail = format!("{what}, because the log refuses the message on `{topic}`: {reason}");
        self.core.conditions.raise(FLOW_UNINFORMED, topic, Severity::Warning, detail, now);
        self.uninformed.insert(topic.clone());
    }

    /// Takes note that a topic has taken a record.
    pub(super) fn takes(&mut self, topic: &str) {
        self.mended(topic);
        if self.uninformed.remove(topic) {
            self.core.conditions.clear(FLOW_UNINFORMED, topic, self.core.clock.now());
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

/// The same message with less text; `None` if it has little.
fn shorter(event: &StepGivenUp, record: &Record) -> Option<Record> {
    if event.error.len() <= SHORT {
        return None;
    }
    let cut = event.error.char_indices().map(|(at, _)| at).take_while(|at| *at <= SHORT).last().unwrap_or_default();
    let event = StepGivenUp { error: format!("{}…", &event.error[..cut]), ..event.clone() };
    let value = serde_json::to_vec(&event).ok()?;
    // The trace's state is others' text.
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
