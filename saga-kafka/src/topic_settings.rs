//! Settings of topics that break a guarantee.

use std::{collections::BTreeMap, time::Duration};

use saga_core::transport::{TopicExpectation, TopicFinding, Weight};

/// How much `max.message.bytes` must exceed `max_record_bytes`. With 12 bytes, the defaults of the two limits fit each other.
const OVERHEAD: u64 = 12;

/// Below this size, `retention.bytes` is likely to remove records that a stopped service has not read.
const FEW_BYTES: u64 = 1 << 30;

/// How far the clock of one process can be ahead of that of another.
const AHEAD: Duration = Duration::from_secs(300);

/// A topic, as the cluster describes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) partitions: u32,
    /// The number of replicas of the partition with the fewest.
    pub(crate) replicas: usize,
    /// The number of brokers.
    pub(crate) brokers: usize,
    /// The settings, including defaults; empty if the user must not read them.
    pub(crate) settings: BTreeMap<String, String>,
}

/// What the client supports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abilities {
    /// The largest response of a broker that it accepts.
    pub(crate) receives: u64,
    pub(crate) zstd: bool,
}

/// Returns the findings for a topic.
pub(crate) fn findings(expected: &TopicExpectation, shown: &Shown, abilities: Abilities) -> Vec<TopicFinding> {
    let mut found = Found { topic: &expected.name, shown, findings: Vec::new() };
    found.shape(expected);
    found.kept(expected);
    found.times(expected);
    found.sizes(expected, abilities);
    found.copies();
    found.findings
}

struct Found<'a> {
    topic: &'a str,
    shown: &'a Shown,
    findings: Vec<TopicFinding>,
}

impl Found<'_> {
    fn tell(&mut self, weight: Weight, setting: &str, detail: String) {
        self.findings.push(TopicFinding { topic: self.topic.to_owned(), setting: setting.to_owned(), weight, detail });
    }

    fn text(&self, setting: &str) -> Option<&str> {
        self.shown.settings.get(setting).map(String::as_str)
    }

    fn number(&self, setting: &str) -> Option<i64> {
        self.text(setting)?.parse().ok()
    }

    fn millis(&self, setting: &str) -> Option<Duration> {
        Some(Duration::from_millis(u64::try_from(self.number(setting)?).ok()?))
    }

    fn shape(&mut self, expected: &TopicExpectation) {
        let (partitions, wanted) = (self.shown.partitions, expected.partitions);
        if partitions < wanted {
            let detail = format!(
                "it has {partitions} partitions; the app creates topics with {wanted} (`topic_partitions`): at most {partitions} processes of \
                 a service handle its records"
            );
            self.tell(Weight::Note, "partitions", detail);
        }
    }

    /// Checks whether records are kept until they are read.
    fn kept(&mut self, expected: &TopicExpectation) {
        let compacts = self.text("cleanup.policy").is_some_and(|policy| policy.split(',').any(|part| part.trim() == "compact"));
        if compacts {
            let detail = "`cleanup.policy` has `compact`, so of the records of a key all but the last vanish, read or not";
            match expected.copies {
                true => self.tell(
                    Weight::Warning,
                    "cleanup.policy",
                    format!("{detail}; the database keeps every dead letter, the topic does not: set it to `delete`"),
                ),
                false => {
                    let detail = format!("{detail}: events would be lost; set it to `delete`");
                    self.tell(Weight::Error, "cleanup.policy", detail);
                }
            }
        }
        if expected.copies {
            return;
        }
        let hours = expected.outage.as_secs() / 3_600;
        if let Some(retention) = self.millis("retention.ms").filter(|retention| *retention < expected.outage) {
            let detail = format!(
                "`retention.ms` is {}, {} s: what a service that is away for longer has not read is removed, and its partitions stop at \
                 the gap; raise it to {} or more, or set `outage_hours`, which is {hours}, to the longest outage",
                retention.as_millis(),
                retention.as_secs(),
                expected.outage.as_millis()
            );
            self.tell(Weight::Warning, "retention.ms", detail);
        }
        let bytes = self.number("retention.bytes").and_then(|bytes| u64::try_from(bytes).ok());
        if let Some(bytes) = bytes.filter(|bytes| *bytes < FEW_BYTES) {
            let detail = format!(
                "`retention.bytes` is {bytes}: beyond that much in a partition, records are removed, read or not; raise it, or set it to \
                 -1 and bound the topic by `retention.ms`"
            );
            self.tell(Weight::Warning, "retention.bytes", detail);
        }
    }

    /// Checks how the broker treats the timestamps of records.
    fn times(&mut self, expected: &TopicExpectation) {
        if self.text("message.timestamp.type") == Some("LogAppendTime") {
            let detail = "`message.timestamp.type` is `LogAppendTime`: a record has the time at which the broker stored it; events of \
                          `sagas` have their own time in `ce_time`, and those of others without it seem as young as their storing";
            self.tell(Weight::Note, "message.timestamp.type", detail.to_owned());
            return;
        }
        if let Some(before) = self.millis("message.timestamp.before.max.ms").filter(|before| *before < expected.outage) {
            let detail = format!(
                "`message.timestamp.before.max.ms` is {}: the broker refuses older records, as those that the outbox sends after an outage \
                 of the log, and they become dead letters; raise it to {} or more",
                before.as_millis(),
                expected.outage.as_millis()
            );
            self.tell(Weight::Warning, "message.timestamp.before.max.ms", detail);
        }
        if let Some(after) = self.millis("message.timestamp.after.max.ms").filter(|after| *after < AHEAD) {
            let detail = format!(
                "`message.timestamp.after.max.ms` is {}: the broker refuses records of a process whose clock is further ahead, and they \
                 become dead letters; raise it to {} or more",
                after.as_millis(),
                AHEAD.as_millis()
            );
            self.tell(Weight::Warning, "message.timestamp.after.max.ms", detail);
        }
    }

    fn sizes(&mut self, expected: &TopicExpectation, abilities: Abilities) {
        let wanted = expected.record_bytes as u64 + OVERHEAD;
        let most = self.number("max.message.bytes").and_then(|bytes| u64::try_from(bytes).ok());
        if let Some(most) = most.filter(|most| *most < wanted) {
            let detail = format!(
                "`max.message.bytes` is {most}, and `max_record_bytes` is {}: a record between the two is made here and refused there, \
                 and becomes a dead letter; raise `max.message.bytes` to {wanted} or more, or lower `max_record_bytes`",
                expected.record_bytes
            );
            self.tell(Weight::Warning, "max.message.bytes", detail);
        }
        if let Some(most) = most.filter(|most| *most >= abilities.receives) {
            let detail = format!(
                "`max.message.bytes` is {most}, and the client takes no answer of more than {} bytes (`receive.message.max.bytes`): a record \
                 of that size could not be read; raise the client's option",
                abilities.receives
            );
            self.tell(Weight::Warning, "max.message.bytes", detail);
        }
        if self.text("compression.type") == Some("zstd") && !abilities.zstd {
            let detail = "`compression.type` is `zstd`, which the librdkafka that this program is linked with cannot read: take one that has zstd, or \
                          set another compression, before anything is published";
            self.tell(Weight::Error, "compression.type", detail.to_owned());
        }
    }

    /// Checks how many replicas have a record when it counts as stored.
    fn copies(&mut self) {
        let Shown { replicas, brokers, .. } = *self.shown;
        if replicas == 1 && brokers > 1 {
            let detail = format!(
                "it is on one of the {brokers} brokers (replication factor 1): what is on that broker is lost with it; create topics with \
                 `topic.replication`, and give this one more replicas with `kafka-reassign-partitions`"
            );
            self.tell(Weight::Warning, "replication.factor", detail);
        }
        if replicas > 1 && self.number("min.insync.replicas") == Some(1) {
            let detail = format!(
                "`min.insync.replicas` is 1 of {replicas}: a record counts as stored when one broker has it, and is lost with that broker; \
                 set it to {}",
                replicas - 1
            );
            let detail = if replicas == 2 { detail.replace("set it to 1", "have 3 replicas, and set it to 2") } else { detail };
            self.tell(Weight::Warning, "min.insync.replicas", detail);
        }
        if replicas > 1 && self.text("unclean.leader.election.enable") == Some("true") {
            let detail = "`unclean.leader.election.enable` is true: a broker that lacks stored records may become the leader, and they are \
                          lost; set it to false";
            self.tell(Weight::Warning, "unclean.leader.election.enable", detail.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&str, &str)], replicas: usize, copies: bool) -> Vec<(Weight, String)> {
        // Kafka's defaults.
        let defaults = [
            ("cleanup.policy", "delete"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", "1048588"),
            ("message.timestamp.type", "CreateTime"),
            ("message.timestamp.before.max.ms", "9223372036854775807"),
            ("message.timestamp.after.max.ms", "3600000"),
            ("min.insync.replicas", "2"),
            ("unclean.leader.election.enable", "false"),
            ("compression.type", "producer"),
        ];
        let settings = defaults.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let shown = Shown { partitions: 6, replicas, brokers: 3, settings };
        let expected = TopicExpectation {
            name: "orders".into(),
            partitions: 6,
            record_bytes: 1 << 20,
            outage: Duration::from_secs(86_400),
            copies,
        };
        let found = findings(&expected, &shown, Abilities { receives: 100_000_000, zstd: false });
        found.into_iter().map(|finding| (finding.weight, finding.setting)).collect()
    }

    #[test]
    fn each_setting_is_weighed() {
        assert_eq!(of(&[], 3, false), [], "Kafka's defaults");
        for (setting, value, weight) in [
            ("cleanup.policy", "compact", Weight::Error),
            ("cleanup.policy", "compact,delete", Weight::Error),
            ("compression.type", "zstd", Weight::Error),
            ("retention.ms", "3600000", Weight::Warning),
            ("retention.bytes", "1000000", Weight::Warning),
            ("max.message.bytes", "600", Weight::Warning),
            ("max.message.bytes", "200000000", Weight::Warning),
            ("message.timestamp.before.max.ms", "3600000", Weight::Warning),
            ("message.timestamp.after.max.ms", "1000", Weight::Warning),
            ("min.insync.replicas", "1", Weight::Warning),
            ("unclean.leader.election.enable", "true", Weight::Warning),
            ("message.timestamp.type", "LogAppendTime", Weight::Note),
        ] {
            assert_eq!(of(&[(setting, value)], 3, false), [(weight, setting.to_owned())], "{setting}={value}");
        }
        for (setting, value) in [("retention.ms", "-1"), ("retention.bytes", "2000000000"), ("compression.type", "lz4")] {
            assert_eq!(of(&[(setting, value)], 3, false), [], "{setting}={value}");
        }
    }

    #[test]
    fn fewer_partitions_than_new_topics_get_are_a_note() {
        let shown = Shown { partitions: 3, replicas: 1, brokers: 1, settings: BTreeMap::new() };
        let expected = TopicExpectation {
            name: "orders".into(),
            partitions: 6,
            record_bytes: 1 << 20,
            outage: Duration::from_secs(86_400),
            copies: false,
        };
        let found = findings(&expected, &shown, Abilities { receives: 100_000_000, zstd: false });
        assert!(matches!(&found[..], [one] if one.weight == Weight::Note && one.setting == "partitions"), "{found:?}");
        let more = Shown { partitions: 12, ..shown };
        assert_eq!(findings(&expected, &more, Abilities { receives: 100_000_000, zstd: false }), []);
    }

    #[test]
    fn one_replica_of_several_brokers_is_told_and_nothing_of_insync_replicas() {
        let settings = [("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")];
        assert_eq!(of(&settings, 1, false), [(Weight::Warning, "replication.factor".to_owned())]);
    }

    #[test]
    fn dead_letters_may_go_since_the_database_keeps_them() {
        let settings = [("cleanup.policy", "compact"), ("retention.ms", "1000")];
        assert_eq!(of(&settings, 3, true), [(Weight::Warning, "cleanup.policy".to_owned())]);
    }
}
