//! Names of topics.

use syn::LitStr;

use super::Errors;

/// The longest name of a topic that Kafka allows, in characters.
const LONGEST_TOPIC: usize = 249;

/// The topic name in `literal`. Names that Kafka does not allow are reported.
pub(crate) fn topic_name(literal: &LitStr, errors: &mut Errors) -> String {
    let topic = literal.value();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() {
        errors.at(literal, "the name of a topic has at least one character");
    } else if let Some(illegal) = topic.chars().find(|c| !legal(*c)) {
        errors.at(
            literal,
            format!(
                "the name of a topic cannot contain {illegal:?}: Kafka allows the letters a-z and A-Z, digits, `.`, `_` and `-`"
            ),
        );
    } else if topic.len() > LONGEST_TOPIC {
        errors.at(literal, format!("the name of a topic has at most {LONGEST_TOPIC} characters; this one has {}", topic.len()));
    } else if topic == "." || topic == ".." {
        errors.at(literal, format!("Kafka allows no topic that is called `{topic}`"));
    }
    topic
}
