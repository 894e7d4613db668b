use super::*;

const WITHOUT_TLS: &[&str] = &["gzip", "sasl_plain"];
const WITH_TLS: &[&str] = &["gzip", "ssl", "sasl_plain", "sasl_scram", "sasl_oauthbearer"];

fn features(names: &[&str]) -> Features {
    Features(names.iter().map(|&name| name.to_owned()).collect())
}

fn config(brokers: &str, options: &[(&str, &str)]) -> KafkaConfig {
    options.iter().fold(KafkaConfig::new(brokers), |config, (name, value)| config.client(*name, *value))
}

/// A broker, options, and the beginnings of the expected problems.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

fn check(features: &Features, cases: &[Case<'_>]) {
    for (brokers, options, expected) in cases {
        let shown: Vec<_> = problems(&config(brokers, options), features).iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), expected.len(), "{brokers} {options:?}: {shown:#?}");
        for (shown, expected) in shown.iter().zip(*expected) {
            assert!(shown.starts_with(expected), "{brokers} {options:?}: {shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}

const PLAIN: (&str, &str) = ("sasl.mechanism", "PLAIN");
const SCRAM: (&str, &str) = ("sasl.mechanism", "SCRAM-SHA-512");
const USER: (&str, &str) = ("sasl.username", "shop");
const PASSWORD: (&str, &str) = ("sasl.password", "hunter2");

#[test]
fn nothing_leaves_the_machine_unencrypted_unasked() {
    let in_the_clear = "records would travel unencrypted to kafka:9092: encrypt with the option `security.protocol=ssl` and \
                        the feature `tls`, or, in a network you trust, allow it with `?plaintext=allow`";
    let credentials = "records and credentials would travel unencrypted to kafka:9092, [2001:db8::1]:9092: encrypt with the option \
                       `security.protocol=sasl_ssl`";
    check(
        &features(WITH_TLS),
        &[
            ("127.0.0.1:9092,localhost,[::1]:9092", &[], &[]),
            ("localhost,kafka", &[], &[in_the_clear]),
            ("kafka", &[("security.protocol", "PLAINTEXT")], &[in_the_clear]),
            ("kafka", &[("security.protocol", "SSL")], &[]),
            ("kafka", &[("security.protocol", "sasl_ssl"), PLAIN, USER, PASSWORD], &[]),
            ("kafka,[2001:db8::1]", &[("security.protocol", "sasl_plaintext"), SCRAM, USER, PASSWORD], &[credentials]),
            ("localhost", &[("security.protocol", "sasl_plaintext"), PLAIN, USER, PASSWORD], &[]),
        ],
    );
    let allowed = config("kafka", &[("security.protocol", "sasl_plaintext"), PLAIN, USER, PASSWORD]).allow_plaintext();
    assert_eq!(problems(&allowed, &features(WITHOUT_TLS)), []);
}

#[test]
fn what_this_build_cannot_do_names_the_feature() {
    let tls =
        "this build of the Kafka client has no TLS, which `security.protocol` asks for: turn on the feature `tls` of `sagas`";
    let scram = "this build of the Kafka client has no SCRAM-SHA-512, which `sasl.mechanism` asks for: turn on the feature `tls`";
    let tokens = "this build of the Kafka client has no OAUTHBEARER, which `sasl.mechanism` asks for: turn on the feature `tls`";
    let unsigned = ("enable.sasl.oauthbearer.unsecure.jwt", "true");
    check(
        &features(WITHOUT_TLS),
        &[
            ("kafka", &[("security.protocol", "ssl"), ("ssl.ca.location", "/etc/ca.pem")], &[tls]),
            ("kafka", &[("security.protocol", "sasl_ssl"), SCRAM, USER, PASSWORD], &[tls, scram]),
            ("localhost", &[("security.protocol", "sasl_plaintext"), SCRAM, USER, PASSWORD], &[scram]),
            ("localhost", &[("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "OAUTHBEARER"), unsigned], &[tokens]),
        ],
    );
    let oidc = ("sasl.oauthbearer.method", "oidc");
    check(
        &features(WITH_TLS),
        &[
            (
                "kafka",
                &[("security.protocol", "sasl_ssl"), ("sasl.mechanism", "OAUTHBEARER"), oidc],
                &["this build of the Kafka client has no OIDC, which `sasl.oauthbearer.method` asks for: depend on `rdkafka`"],
            ),
            (
                "kafka",
                &[("security.protocol", "sasl_ssl"), ("sasl.mechanism", "GSSAPI")],
                &["this build of the Kafka client has no GSSAPI, which `sasl.mechanism` asks for: depend on `rdkafka`"],
            ),
        ],
    );
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let unused = "`sasl.password` would not be used; set `security.protocol` to sasl_ssl";
    check(
        &features(WITH_TLS),
        &[
            ("localhost", &[PASSWORD], &[unused]),
            ("kafka", &[("security.protocol", "ssl"), PASSWORD], &[unused]),
            ("localhost", &[("ssl.ca.location", "/etc/ca.pem")], &["`ssl.ca.location` would not be used; set"]),
            ("kafka", &[("security.protocol", "tls")], &["`security.protocol` must be plaintext, ssl,"]),
            ("kafka", &[("security.protocol", "sasl_ssl")], &["`sasl.mechanism` is missing; it is PLAIN,"]),
            ("kafka", &[("security.protocol", "sasl_ssl"), ("sasl.mechanisms", "plain")], &["`sasl.mechanism` must be PLAIN,"]),
            (
                "kafka",
                &[("security.protocol", "sasl_ssl"), ("sasl.mechanisms", "SCRAM-SHA-256")],
                &["`sasl.username` is missing; SCRAM-SHA-256 takes", "`sasl.password` is missing; SCRAM-SHA-256 takes"],
            ),
            (
                "kafka",
                &[("security.protocol", "sasl_ssl"), ("sasl.mechanism", "OAUTHBEARER")],
                &["`sasl.oauthbearer.method` must be oidc"],
            ),
        ],
    );
}

#[test]
fn the_client_says_what_it_can_do() {
    let features = Features::of_client();
    assert!(features.has("sasl_plain") && features.has("gzip"), "{:?}", features.0);
    assert_eq!(features.has("ssl"), cfg!(feature = "tls"));
    assert_eq!(features.has("sasl_scram"), cfg!(feature = "tls"));
}
