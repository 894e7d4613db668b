//! The identity of a topic: Kafka assigns an id to each topic when it is created, so a recreated topic has another id.

use std::ffi::CString;

use rdkafka::types::RDKafkaErrorCode as Code;
use saga_core::transport::{TopicIdentity, TransportError};

use crate::{
    error::{describe, unavailable_by},
    member::{Identity, identities},
    observer::{self, Client},
};

/// Returns the identities of `topics`, with one request. Topics that do not exist are omitted.
pub(crate) fn ask(client: &Client, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
    // A name that contains a NUL cannot be the name of a topic.
    let mut asked: Vec<_> = topics.iter().filter_map(|topic| CString::new(topic.as_str()).ok()).collect();
    asked.retain(|topic| !topic.is_empty());
    asked.sort_unstable();
    asked.dedup();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let what = "asking for the identities of topics";
    let found = identities(client, &asked, observer::PATIENCE).map_err(|code| unavailable_by(what, code, ""))?;
    Ok(found.into_iter().filter_map(|(topic, identity)| of(topic, identity)).collect())
}

fn of(topic: String, identity: Identity) -> Option<TopicIdentity> {
    let log = match identity {
        Ok(Some(identity)) => Ok(identity),
        Ok(None) => Err("the cluster gives topics no identities, which it does from Apache Kafka 2.8 on: upgrade it".to_owned()),
        Err(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return None,
        Err(code @ Code::TopicAuthorizationFailed) => Err(format!("{}; grant Describe on it", describe(code))),
        Err(code) => Err(describe(code)),
    };
    Some(TopicIdentity { topic, log })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_topic() {
        let log = |identity| of("orders".into(), identity).map(|known| known.log);
        assert_eq!(log(Ok(Some("abc".into()))), Some(Ok("abc".into())));
        assert_eq!(log(Err(Code::UnknownTopicOrPartition)), None, "it is not there");
        let why = |identity| log(identity).and_then(Result::err).unwrap_or_default();
        assert!(why(Ok(None)).contains("2.8") && why(Err(Code::TopicAuthorizationFailed)).contains("grant Describe"));
    }
}
