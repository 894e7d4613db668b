//! Queries on dead letters, and the states of dead letters.

use std::collections::HashSet;

use bytes::Bytes;

use super::{DeadLetter, DeadLetterId, DeadLetterState, InboxKey, Store, StoreError, rows::parked_under};
use crate::{
    message::{Envelope, Header, TopicPartition, header, headers, listener::Listener},
    time::Timestamp,
};

/// A filter for dead letters. A dead letter must match all fields that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// The topic.
    pub topic: Option<String>,
    /// The message key.
    pub key: Option<Bytes>,
    /// The event type.
    pub event_type: Option<String>,
    /// A text that the error contains; case-sensitive.
    pub error: Option<String>,
    /// The state.
    pub state: Option<DeadLetterState>,
    /// The dead letter was given up at this time or later.
    pub since: Option<Timestamp>,
    /// The dead letter was given up before this time.
    pub until: Option<Timestamp>,
}

impl DeadLetterFilter {
    /// Matches every open dead letter.
    pub fn open() -> Self {
        Self { state: Some(DeadLetterState::Open), ..Self::default() }
    }

    /// Returns this filter, restricted to open dead letters.
    #[must_use]
    pub fn and_open(&self) -> Self {
        Self { state: Some(DeadLetterState::Open), ..self.clone() }
    }

    /// Whether no field is set, apart from the state.
    pub fn is_empty(&self) -> bool {
        Self { state: None, ..self.clone() } == Self::default()
    }

    /// Whether `letter` matches.
    pub fn wants(&self, letter: &DeadLetter) -> bool {
        let record = &letter.received.record;
        self.topic.as_ref().is_none_or(|topic| *topic == record.topic)
            && self.key.as_ref().is_none_or(|key| Some(key) == record.key.as_ref())
            && self.event_type.as_ref().is_none_or(|event| Some(event) == letter.event_type.as_ref())
            && self.error.as_ref().is_none_or(|error| letter.error.contains(error.as_str()))
            && self.state.is_none_or(|state| state == letter.state)
            && self.since.is_none_or(|since| letter.at >= since)
            && self.until.is_none_or(|until| letter.at < until)
    }
}

/// A dead letter without its value and headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterHead {
    /// The id of the dead letter.
    pub id: DeadLetterId,
    /// Its state.
    pub state: DeadLetterState,
    /// The partition of the message; -1 for a record that the log refused to store.
    pub partition: TopicPartition,
    /// The offset of the message.
    pub offset: i64,
    /// The key of the message.
    pub key: Option<Bytes>,
    /// The size of the message's value, in bytes.
    pub bytes: usize,
    /// The handler that the dead letter belongs to; `None` where the message could not be delivered to any handler.
    pub handler: Option<String>,
}

/// A dead letter in a list. It has no value and no headers, so that a list does not load them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterSummary {
    /// The id, the state and the position of the dead letter.
    pub head: LetterHead,
    /// The event name in the message, which can be a former name. If the message has none, the event that it was taken for, if any.
    pub event_type: Option<String>,
    /// The error with which the message was given up.
    pub error: String,
    /// The number of attempts.
    pub attempts: u32,
    /// When the message was given up.
    pub at: Timestamp,
    /// Why the log refused to store the copy for the dead-letter topic, if it did.
    pub unpublished: Option<String>,
}

/// Returns those of `letters` that hold their keys: further messages of the key wait until the dead letter is settled. Only an open one can.
///
/// # Errors
/// When the database cannot be read.
pub async fn holding_letters(
    store: &dyn Store,
    service: &str,
    letters: &[LetterSummary],
) -> Result<HashSet<DeadLetterId>, StoreError> {
    let heads = letters.iter().map(|letter| &letter.head);
    let open: Vec<_> = heads.filter(|head| head.state == DeadLetterState::Open).cloned().collect();
    match open.is_empty() {
        true => Ok(HashSet::new()),
        false => store.holding_letters(service, &open).await,
    }
}

impl LetterSummary {
    /// Returns the summary of `letter`.
    pub fn of(letter: &DeadLetter) -> Self {
        Self {
            head: LetterHead::of(letter),
            event_type: letter.event_type.clone(),
            error: letter.error.clone(),
            attempts: letter.attempts,
            at: letter.at,
            unpublished: letter.unpublished.clone(),
        }
    }
}

impl LetterHead {
    /// Returns the head of `letter`.
    pub fn of(letter: &DeadLetter) -> Self {
        let received = &letter.received;
        Self {
            id: letter.id.clone(),
            state: letter.state,
            partition: TopicPartition::new(received.record.topic.clone(), received.partition),
            offset: received.offset,
            key: received.record.key.clone(),
            bytes: received.record.value.as_ref().map_or(0, Bytes::len),
            handler: letter.handler().map(str::to_owned),
        }
    }

    /// Returns the key under which the message is parked.
    pub fn parking_key(&self) -> Bytes {
        parked_under(self.key.as_ref(), self.partition.partition, self.offset)
    }

    /// Whether a parked message with these headers, at the position of the dead letter, belongs to the same handler: each of several
    /// handlers parks its own copy.
    pub(crate) fn is_of_handler_in(&self, headers: &[Header]) -> bool {
        header(headers, headers::HANDLER) == self.handler.as_deref()
    }

    /// Whether the message came from the log. If not, it is a record that the log refused to store.
    pub fn was_received(&self) -> bool {
        self.partition.partition >= 0
    }

    /// A sort key: topic, partition and offset, then the id for dead letters of the same position.
    pub fn by_position(&self) -> (&TopicPartition, i64, &str) {
        (&self.partition, self.offset, self.id.as_str())
    }
}

impl DeadLetter {
    /// Returns the handler that the dead letter belongs to. `None` where the message could not be delivered to any handler; a retry then
    /// delivers it to every handler that takes it.
    pub fn handler(&self) -> Option<&str> {
        self.received.record.header(headers::HANDLER)
    }

    /// Returns the key of the message in the inbox. `None`: the message never reached the log.
    pub fn known_by(&self) -> Option<InboxKey> {
        if self.received.partition < 0 {
            return None;
        }
        let envelope = Envelope::of(&self.received, self.at).unwrap_or_else(|_| Envelope::by_position(&self.received, self.at));
        let id = Listener::of(&self.received.record).map_or(envelope.id.clone(), |listener| listener.known_by(&envelope.id));
        Some(InboxKey { source: envelope.source, id })
    }
}

impl DeadLetterState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Open, Self::Retried, Self::Replayed, Self::Discarded];

    /// Returns the name of the state, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Retried => "retried",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }

    /// Returns the state with this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether a dead letter in this state can change to `next`. An open dead letter can be settled in any way. A discarded one can still
    /// be settled as replayed, when its message is produced again.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Open => next != Self::Open,
            Self::Discarded => next == Self::Replayed,
            Self::Retried | Self::Replayed => false,
        }
    }
}

/// The number of dead letters that were removed because of their age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrunedLetters {
    /// Dead letters that were still open.
    pub open: u64,
    /// Dead letters that were settled.
    pub settled: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_settled_once_and_a_discarded_one_can_be_answered() {
        use DeadLetterState::{Discarded, Open, Replayed, Retried};
        for (from, allowed) in
            [(Open, &[Retried, Replayed, Discarded][..]), (Discarded, &[Replayed]), (Retried, &[]), (Replayed, &[])]
        {
            let becomes: Vec<_> = DeadLetterState::ALL.into_iter().filter(|next| from.may_become(*next)).collect();
            assert_eq!(becomes, allowed, "{from:?}");
        }
    }

    #[test]
    fn states_are_found_by_their_names() {
        for state in DeadLetterState::ALL {
            assert_eq!(DeadLetterState::of(state.as_str()), Some(state));
        }
        assert_eq!(DeadLetterState::of("Open"), None);
    }

    #[test]
    fn a_filter_with_a_state_only_is_empty() {
        assert!(DeadLetterFilter::default().is_empty() && DeadLetterFilter::open().is_empty());
        assert!(!DeadLetterFilter { error: Some("x".into()), ..DeadLetterFilter::open() }.is_empty());
    }
}
