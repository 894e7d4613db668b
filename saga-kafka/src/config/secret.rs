//! Which options can be shown.

use std::{collections::BTreeMap, fmt};

use super::names;

/// The security options with values that do not help an attacker.
const HARMLESS: &[&str] = &[
    "enable.ssl.certificate.verification",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.method",
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
];

/// Whether the value of the option `name` must not be shown. Unknown options are secret, because one may be a misspelled
/// password.
pub(super) fn is_secret(name: &str) -> bool {
    let guarded = ["sasl.", "ssl.", "ssl_", "https.", "enable.sasl.", "enable.ssl."];
    !names::is_known(name) || (guarded.iter().any(|prefix| name.starts_with(prefix)) && !HARMLESS.contains(&name))
}

/// Formats options without their secret values.
pub(super) struct Shown<'a>(pub(super) &'a BTreeMap<String, String>);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &'_ str, value: &'_ str| if is_secret(name) { "…".to_owned() } else { value.to_owned() };
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}
