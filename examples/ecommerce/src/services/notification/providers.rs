//! Simulated providers for e-mails and text messages, with switches that make them fail.

use std::sync::{Arc, Mutex, PoisonError};

use sagas::id::IdSource;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{contracts::Channel, services::given};

/// How one provider behaves.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
#[schema(as = Provider)]
#[serde(rename_all = "camelCase")]
pub struct Switches {
    /// The share of messages that the provider fails to accept.
    #[schema(minimum = 0, maximum = 1)]
    pub failure_rate: f64,
    /// Whether the provider accepts no message.
    pub outage: bool,
}

/// The switches of both providers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
#[schema(as = Providers)]
pub struct AllSwitches {
    /// The e-mail provider.
    pub email: Switches,
    /// The provider of text messages.
    pub sms: Switches,
}

/// A change of one provider's switches. Switches that are left out do not change.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[schema(as = ProviderChange)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwitchesChange {
    /// As in [`Switches`].
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 1)]
    pub failure_rate: Option<f64>,
    /// As in [`Switches`].
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub outage: Option<bool>,
}

/// A change of both providers' switches.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[schema(as = ProvidersChange, example = json!({"email": {"outage": true}}))]
#[serde(deny_unknown_fields)]
pub struct AllSwitchesChange {
    /// The e-mail provider.
    #[serde(default)]
    pub email: SwitchesChange,
    /// The provider of text messages.
    #[serde(default)]
    pub sms: SwitchesChange,
}

/// The error when a provider did not accept a message.
#[derive(Debug, thiserror::Error)]
#[error("the {0} provider did not take the message")]
pub struct NotTaken(Channel);

/// The simulated providers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Providers {
    switches: Arc<Mutex<AllSwitches>>,
    ids: IdSource,
}

impl Providers {
    /// Creates providers without failures.
    pub fn new(ids: IdSource) -> Self {
        Self { switches: Arc::default(), ids }
    }

    /// Returns the current switches.
    pub fn switches(&self) -> AllSwitches {
        *self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the switches, and returns them.
    pub fn switch(&self, change: AllSwitchesChange) -> AllSwitches {
        let mut switches = self.switches.lock().unwrap_or_else(PoisonError::into_inner);
        switches.email.change(change.email);
        switches.sms.change(change.sms);
        *switches
    }

    /// Sends `message` to a customer.
    ///
    /// # Errors
    /// When the provider does not accept it.
    pub async fn send(&self, channel: Channel, customer: &str, message: &str) -> Result<(), NotTaken> {
        let switches = match channel {
            Channel::Email => self.switches().email,
            Channel::Sms => self.switches().sms,
        };
        if switches.outage || self.ids.fraction() < switches.failure_rate {
            return Err(NotTaken(channel));
        }
        tracing::debug!(%channel, customer, length = message.len(), "a message was sent");
        Ok(())
    }
}

impl Switches {
    fn change(&mut self, change: SwitchesChange) {
        self.failure_rate = change.failure_rate.unwrap_or(self.failure_rate);
        self.outage = change.outage.unwrap_or(self.outage);
    }
}
