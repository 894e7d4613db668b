//! The dead letters that a request selects.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use saga_core::{
    store::{DeadLetterFilter, DeadLetterState},
    time::Timestamp,
};
use serde::Deserialize;

use super::Problem;

/// The default and the maximum number of dead letters that one call settles.
const LIMIT: u64 = 1_000;
const MOST: u64 = 10_000;

/// The query parameters of the list.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    /// The topic of the message.
    topic: Option<String>,
    /// The key of the message.
    key: Option<String>,
    /// The key of the message, if it is not text. Excludes `key`.
    #[cfg_attr(feature = "openapi", param(schema_with = crate::schema::base64))]
    key_base64: Option<String>,
    /// The event type.
    r#type: Option<String>,
    /// A text that the error contains.
    error: Option<String>,
    /// The state. Default: `open`.
    #[cfg_attr(feature = "openapi", param(inline))]
    state: Option<State>,
    /// The earliest time when the message was given up.
    #[cfg_attr(feature = "openapi", param(inline))]
    since: Option<Timestamp>,
    /// Only messages given up before this time. Must be later than `since`.
    #[cfg_attr(feature = "openapi", param(inline))]
    until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Open,
    Retried,
    Replayed,
    Discarded,
    All,
}

/// The body of a call that settles many dead letters.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = WantedDeadLetters, example = json!({"topic": "orders", "error": "timeout", "dryRun": true})))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Bulk {
    /// The topic of the message.
    topic: Option<String>,
    /// The key of the message.
    key: Option<String>,
    /// The key of the message, if it is not text. Excludes `key`.
    #[cfg_attr(feature = "openapi", schema(schema_with = crate::schema::base64_or_null))]
    key_base64: Option<String>,
    /// The event type.
    r#type: Option<String>,
    /// A text that the error contains.
    error: Option<String>,
    /// Can only be `open`, because a dead letter is settled once.
    #[cfg_attr(feature = "openapi", schema(schema_with = only_open))]
    state: Option<State>,
    /// The earliest time when the message was given up.
    #[cfg_attr(feature = "openapi", schema(inline))]
    since: Option<Timestamp>,
    /// Only messages given up before this time. Must be later than `since`.
    #[cfg_attr(feature = "openapi", schema(inline))]
    until: Option<Timestamp>,
    /// The maximum number of dead letters to settle. Default: 1,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000))]
    limit: Option<u64>,
    /// Settles nothing, and returns which dead letters match.
    #[serde(default)]
    dry_run: bool,
    /// Selects every open dead letter. Required if no other field selects.
    #[serde(default)]
    all: bool,
}

#[cfg(feature = "openapi")]
fn only_open() -> utoipa::openapi::Object {
    use utoipa::openapi::{ObjectBuilder, Type, schema::SchemaType};
    let kind = SchemaType::from_iter([Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(kind).enum_values(Some([Some("open"), None])).build()
}

/// The dead letters that a call settles, and how.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) filter: DeadLetterFilter,
    pub(super) limit: u64,
    pub(super) dry_run: bool,
}

impl Filter {
    /// Validates the parameters. Without a state, the filter selects the open dead letters.
    pub(super) fn read(self) -> Result<DeadLetterFilter, Problem> {
        let key = match (self.key, self.key_base64) {
            (Some(_), Some(_)) => return Err(Problem::invalid_field("keyBase64", "excludes `key`; leave one of them out")),
            (Some(key), None) => Some(Bytes::from(key)),
            (None, Some(key)) => match BASE64_STANDARD.decode(key) {
                Ok(key) => Some(Bytes::from(key)),
                Err(_) => return Err(Problem::invalid_field("keyBase64", "must be base64")),
            },
            (None, None) => None,
        };
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(Problem::invalid_field("until", "must be later than `since`"));
        }
        Ok(DeadLetterFilter {
            topic: self.topic,
            key,
            event_type: self.r#type,
            error: self.error,
            state: match self.state.unwrap_or(State::Open) {
                State::Open => Some(DeadLetterState::Open),
                State::Retried => Some(DeadLetterState::Retried),
                State::Replayed => Some(DeadLetterState::Replayed),
                State::Discarded => Some(DeadLetterState::Discarded),
                State::All => None,
            },
            since: self.since,
            until: self.until,
        })
    }
}

impl Bulk {
    pub(super) fn read(self) -> Result<Wanted, Problem> {
        if self.state.is_some_and(|state| state != State::Open) {
            return Err(Problem::invalid_field("state", "must be `open`: a letter is settled once"));
        }
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::invalid_field("limit", format!("must be a whole number from 1 to {MOST}")));
        }
        let Self { topic, key, key_base64, r#type, error, state, since, until, dry_run, all, .. } = self;
        let filter = Filter { topic, key, key_base64, r#type, error, state, since, until }.read()?;
        if filter.is_empty() && !all {
            let message = "must be true to settle every open dead letter; or select some by `topic`, `key`, `keyBase64`, `type`, \
                           `error`, `since` or `until`";
            return Err(Problem::invalid_field("all", message));
        }
        Ok(Wanted { filter, limit, dry_run })
    }
}
