//! The names of topics in the log of a deployment.
//!
//! The code uses one fixed name for a topic: `orders`. A deployment decides what the topic is called in its cluster: `prod.orders`, or
//! `team-a.orders.v1`.
//!
//! ```
//! use saga_core::transport::TopicNames;
//!
//! let names: TopicNames = serde_json::from_str(r#"{"prefix": "prod.", "names": {"orders": "team-a.orders.v1"}}"#)?;
//! assert_eq!(names, TopicNames::prefixed("prod.").with("orders", "team-a.orders.v1"));
//! assert_eq!(names.of("orders"), "team-a.orders.v1");
//! assert_eq!(names.of("payments"), "prod.payments");
//! assert_eq!(names.of("payment.dlt"), "prod.payment.dlt");
//! # Ok::<_, serde_json::Error>(())
//! ```

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};

/// The maximum length of a topic's name, in bytes.
const LONGEST: usize = 249;

/// The names of an app's topics in the log: a prefix, and full names for some topics. See [`App::topics`](crate::runtime::App::topics).
///
/// It can be read from a configuration, as a table with `prefix` and `names`. Names for topics that the app does not have are ignored, so
/// that several programs can share one configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicNames {
    /// The text put before the topic names of the code, except for the topics in `names`.
    pub prefix: String,
    /// The full name in the log, by the name in the code.
    pub names: BTreeMap<String, String>,
}

impl TopicNames {
    /// Puts `prefix` before the name of every topic.
    pub fn prefixed(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), names: BTreeMap::new() }
    }

    /// Uses `name` for the topic that the code calls `topic`.
    #[must_use]
    pub fn with(mut self, topic: impl Into<String>, name: impl Into<String>) -> Self {
        self.names.insert(topic.into(), name.into());
        self
    }

    /// Returns the name in the log of the topic that the code calls `topic`.
    pub fn of<'n>(&'n self, topic: &'n str) -> Cow<'n, str> {
        match self.names.get(topic) {
            Some(name) => Cow::Borrowed(name),
            None if self.prefix.is_empty() => Cow::Borrowed(topic),
            None => Cow::Owned(format!("{}{topic}", self.prefix)),
        }
    }

    /// Puts the name of `app` before the name of each of `topics`, so that two apps on one cluster do not share them. Topics in `names`
    /// keep their names.
    pub(crate) fn with_app_name(mut self, app: &str, topics: impl IntoIterator<Item = &'static str>) -> Self {
        for topic in topics {
            let name = format!("{}{app}.{topic}", self.prefix);
            self.names.entry(topic.to_owned()).or_insert(name);
        }
        self
    }

    /// Returns the problems of the names of `topics`: a name that a topic cannot have, or the same name for two topics.
    pub(crate) fn problems<'t>(&self, topics: impl IntoIterator<Item = &'t str>) -> Vec<String> {
        let mut problems = Vec::new();
        let mut taken: BTreeMap<String, &str> = BTreeMap::new();
        for topic in topics.into_iter().collect::<BTreeSet<_>>() {
            let name = self.of(topic).into_owned();
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            if !(1..=LONGEST).contains(&name.len()) || !name.bytes().all(legal) || name == "." || name == ".." {
                problems.push(format!(
                    "the topic `{topic}` is called `{name}` in the log, which no topic can be called: use 1 to {LONGEST} of a-z A-Z 0-9 . _ - \
                     (prefix and names: `App::topics`)"
                ));
            }
            if let Some(other) = taken.insert(name.clone(), topic) {
                problems.push(format!(
                    "the topics `{other}` and `{topic}` are both called `{name}` in the log: give one another name (`App::topics`)"
                ));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [&str; 2] = ["sagas.attention", "sagas.operations"];

    #[test]
    fn the_frameworks_own_topics_carry_the_apps_name() {
        let names = TopicNames::prefixed("prod.").with_app_name("shop", OWN);
        assert_eq!(names.of("sagas.attention"), "prod.shop.sagas.attention");
        assert_eq!(names.of("sagas.operations"), "prod.shop.sagas.operations");
        let named = TopicNames::default().with("sagas.attention", "attention").with_app_name("shop", OWN);
        assert_eq!((&*named.of("sagas.attention"), &*named.of("sagas.operations")), ("attention", "shop.sagas.operations"));
        assert_eq!(TopicNames::default().with_app_name("shop", OWN).of("orders"), "orders");
    }

    #[test]
    fn two_topics_of_one_name_are_told_with_it() {
        let names = TopicNames::prefixed("prod.").with("orders", "prod.payments");
        assert_eq!(names.problems(["orders", "stock", "orders"]), [""; 0]);
        assert_eq!(
            names.problems(["payments", "orders"]),
            [
                "the topics `orders` and `payments` are both called `prod.payments` in the log: give one another name (`App::topics`)"
            ]
        );
    }

    #[test]
    fn a_name_is_one_that_a_topic_can_have() {
        for (wrong, names) in [
            ("a b.orders", TopicNames::prefixed("a b.")),
            ("", TopicNames::default().with("orders", "")),
            ("..", TopicNames::default().with("orders", "..")),
            ("bücher", TopicNames::default().with("orders", "bücher")),
        ] {
            let problems = names.problems(["orders"]);
            assert!(problems.len() == 1 && problems[0].contains(&format!("`orders` is called `{wrong}`")), "{problems:?}");
        }
        let long = TopicNames::prefixed("x".repeat(LONGEST - 6));
        assert_eq!(long.problems(["orders"]), [""; 0]);
        assert_eq!(long.problems(["orders2"]).len(), 1);
    }
}
