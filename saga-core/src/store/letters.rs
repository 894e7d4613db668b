//! Dead letters that are looked for and settled many at a time.

use bytes::Bytes;

use super::{DeadLetter, DeadLetterId, DeadLetterState, InboxKey, rows::parked_under};
use crate::{
    message::{Envelope, TopicPartition},
    time::Timestamp,
};

/// Which dead letters are wanted: those for which all of it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Of this topic.
    pub topic: Option<String>,
    /// With this key.
    pub key: Option<Bytes>,
    /// Of this event type.
    pub event_type: Option<String>,
    /// With this text somewhere in their error, in the same case.
    pub error: Option<String>,
    /// In this state.
    pub state: Option<DeadLetterState>,
    /// Given up at this time or later.
    pub since: Option<Timestamp>,
    /// Given up before this time.
    pub until: Option<Timestamp>,
}

impl DeadLetterFilter {
    /// Every letter that is open.
    pub fn open() -> Self {
        Self { state: Some(DeadLetterState::Open), ..Self::default() }
    }

    /// The same, of those that are open.
    #[must_use]
    pub fn and_open(&self) -> Self {
        Self { state: Some(DeadLetterState::Open), ..self.clone() }
    }

    /// Whether it says nothing but, perhaps, a state.
    pub fn is_empty(&self) -> bool {
        Self { state: None, ..self.clone() } == Self::default()
    }

    /// Whether it wants `letter`.
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
    /// Its identity.
    pub id: DeadLetterId,
    /// What became of it.
    pub state: DeadLetterState,
    /// Where its message came from; the partition is -1 for a record that the log did not take.
    pub partition: TopicPartition,
    /// Its message's position there.
    pub offset: i64,
    /// Its message's key.
    pub key: Option<Bytes>,
    /// Bytes of its message's value.
    pub bytes: usize,
}

/// A dead letter in a list: without its value and headers, so that a list costs what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterSummary {
    /// What it is, and where its message came from.
    pub head: LetterHead,
    /// Its message's event type, if it could be read.
    pub event_type: Option<String>,
    /// Why it was given up.
    pub error: String,
    /// After how many attempts.
    pub attempts: u32,
    /// When it was given up.
    pub at: Timestamp,
    /// Why the dead letter topic does not have it, if it was refused there.
    pub unpublished: Option<String>,
}

impl LetterSummary {
    /// The summary of `letter`.
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
    /// The head of `letter`.
    pub fn of(letter: &DeadLetter) -> Self {
        let received = &letter.received;
        Self {
            id: letter.id.clone(),
            state: letter.state,
            partition: TopicPartition::new(received.record.topic.clone(), received.partition),
            offset: received.offset,
            key: received.record.key.clone(),
            bytes: received.record.value.as_ref().map_or(0, Bytes::len),
        }
    }

    /// What its message is parked under.
    pub fn parking_key(&self) -> Bytes {
        parked_under(self.key.as_ref(), self.partition.partition, self.offset)
    }

    /// Whether its message came from the log. Else it is a record that the log did not take.
    pub fn was_received(&self) -> bool {
        self.partition.partition >= 0
    }

    /// By topic, partition and offset, and letters of one position by their identities.
    pub fn by_position(&self) -> (&TopicPartition, i64, &str) {
        (&self.partition, self.offset, self.id.as_str())
    }
}

impl DeadLetter {
    /// What its message is known by in the inbox. `None`: it never reached the log.
    pub fn known_by(&self) -> Option<InboxKey> {
        if self.received.partition < 0 {
            return None;
        }
        let envelope = Envelope::of(&self.received, self.at).unwrap_or_else(|_| Envelope::by_position(&self.received, self.at));
        Some(InboxKey { source: envelope.source, id: envelope.id })
    }
}

impl DeadLetterState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Retried, Self::Replayed, Self::Discarded];

    /// Its name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Retried => "retried",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }

    /// The one called `name`.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether a letter in this state may become one in state `next`. An open letter may be settled in any way. A discarded one can
    /// still be answered by its message, when that is produced again.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Open => next != Self::Open,
            Self::Discarded => next == Self::Replayed,
            Self::Retried | Self::Replayed => false,
        }
    }
}

/// How many dead letters were removed for their age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrunedLetters {
    /// Those that were still open.
    pub open: u64,
    /// Those that were settled.
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
