//! Which dead letters a request asks for.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;

use super::Problem;
use crate::{
    store::{DeadLetterFilter, DeadLetterState},
    time::Timestamp,
};

/// How many are settled by a call that does not say, and at most.
const LIMIT: u64 = 1_000;
const MOST: u64 = 10_000;

/// The parameters of a list.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    /// Of this topic.
    topic: Option<String>,
    /// With this key.
    key: Option<String>,
    /// With this key, which is not text. Not together with `key`.
    #[cfg_attr(feature = "openapi", param(schema_with = crate::http::openapi::base64))]
    key_base64: Option<String>,
    /// Of events of this name.
    r#type: Option<String>,
    /// With this text in their error.
    error: Option<String>,
    /// In this state: those that are open, unless it says.
    #[cfg_attr(feature = "openapi", param(inline))]
    state: Option<State>,
    /// Given up at this time or later.
    #[cfg_attr(feature = "openapi", param(inline))]
    since: Option<Timestamp>,
    /// Given up before this time, which is later than `since`.
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

/// The body of a call that settles many.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = WantedDeadLetters, example = json!({"topic": "orders", "error": "timeout", "dryRun": true})))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Bulk {
    /// Of this topic.
    topic: Option<String>,
    /// With this key.
    key: Option<String>,
    /// With this key, which is not text. Not together with `key`.
    #[cfg_attr(feature = "openapi", schema(schema_with = crate::http::openapi::base64_or_null))]
    key_base64: Option<String>,
    /// Of events of this name.
    r#type: Option<String>,
    /// With this text in their error.
    error: Option<String>,
    /// `open`, or not said: a letter is settled once.
    #[cfg_attr(feature = "openapi", schema(schema_with = only_open))]
    state: Option<State>,
    /// Given up at this time or later.
    #[cfg_attr(feature = "openapi", schema(inline))]
    since: Option<Timestamp>,
    /// Given up before this time, which is later than `since`.
    #[cfg_attr(feature = "openapi", schema(inline))]
    until: Option<Timestamp>,
    /// How many are settled at most: 1,000 unless it says.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000))]
    limit: Option<u64>,
    /// Settles none, and says which would be.
    #[serde(default)]
    dry_run: bool,
    /// Every open letter; without it, something else has to say which.
    #[serde(default)]
    all: bool,
}

#[cfg(feature = "openapi")]
fn only_open() -> utoipa::openapi::Object {
    use utoipa::openapi::{ObjectBuilder, Type, schema::SchemaType};
    let kind = SchemaType::from_iter([Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(kind).enum_values(Some([Some("open"), None])).build()
}

/// What a call that settles many wants.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) filter: DeadLetterFilter,
    pub(super) limit: u64,
    pub(super) dry_run: bool,
}

impl Filter {
    /// What the list has: those that are open, unless it says.
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
            let message = "must be true to settle every open dead letter; or say which, by `topic`, `key`, `keyBase64`, `type`, \
                           `error`, `since` or `until`";
            return Err(Problem::invalid_field("all", message));
        }
        Ok(Wanted { filter, limit, dry_run })
    }
}
