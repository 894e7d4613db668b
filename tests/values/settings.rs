//! Arbitrary URLs and configurations: they are accepted or rejected without a panic, and no secret is in the error.

use proptest::{prelude::*, sample::select};
use sagas::{
    Settings,
    config::load,
    kafka::KafkaConfig,
    store::{postgres::PostgresOptions, sqlite::SqliteOptions},
};
use serde::Serialize;

use crate::budget::cases;

const SECRET: &str = "hunter2";

fn url() -> impl Strategy<Value = String> {
    let schemes = select(vec!["postgres://", "postgresql://", "kafka://", "sqlite:", "sqlite://", "kafka+ssl://", ""]);
    let users = select(vec!["", "u:hunter2@", ":hunter2@", "u%40:hunter2@", "hunter2@", "u:hunter2:x@", "u:hunter2@@"]);
    let hosts = prop_oneof![
        select(vec!["localhost", "127.0.0.1:5432", "[::1]:9092", "a,b:1,c", "h:99999", "", "[::1", "%2Fsocket%2Fdir"])
            .prop_map(String::from),
        ".{0,12}",
    ];
    let paths = prop_oneof![select(vec!["", "/", "/shop", "/a%2", "/%00", "/a/b"]).prop_map(String::from), ".{0,8}"];
    let parameters = select(vec![
        "",
        "?",
        "?password=hunter2",
        "?password=hunter2&pool=x",
        "?sasl.password=hunter2&sasl.mechanism=x",
        "?schema=%",
        "?pool=99999999999999999999",
        "?pool=0",
        "?options=-c%20statement_timeout%3D1000",
        "?sslmode=nonsense",
        "?begin_timeout=-1s",
        "?a=b&a=c",
        "?=",
    ]);
    (schemes, users, hosts, paths, parameters)
        .prop_map(|(scheme, user, host, path, parameters)| format!("{scheme}{user}{host}{path}{parameters}"))
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn any_url_is_read_or_refused_without_its_password(url in url()) {
        let errors = [
            url.parse::<PostgresOptions>().err().map(|error| error.to_string()),
            url.parse::<SqliteOptions>().err().map(|error| error.to_string()),
            url.parse::<KafkaConfig>().err().map(|error| error.to_string()),
        ];
        for error in errors.into_iter().flatten() {
            prop_assert!(!error.contains(SECRET), "{}: {}", url, error);
        }
        if let Ok(config) = url.parse::<KafkaConfig>() {
            prop_assert!(!format!("{config:?}").contains(SECRET), "{}: {:?}", url, config);
        }
    }

    #[test]
    fn any_configuration_is_read_or_refused_without_what_it_says(text in toml()) {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, &text)?;
        #[derive(Serialize)]
        struct Flags {}
        if let Err(error) = load(Settings::default(), Some(&path), "SAGAS_NO_SUCH_", Flags {}) {
            prop_assert!(!error.to_string().contains(SECRET), "{:?}: {}", text, error);
        }
    }
}

fn toml() -> impl Strategy<Value = Vec<u8>> {
    let keys = select(vec!["max_record_bytes", "lanes", "batch_ms", "on_gap", "unknown", "queue_bytes", "a.b", "[table]\nx"]);
    let values = select(vec![
        "1",
        "-1",
        "99999999999999999999",
        "\"hunter2\"",
        "1.5",
        "true",
        "[1, 2]",
        "{ a = 1 }",
        "nan",
        "",
        "2026-01-01",
    ]);
    let lines = prop::collection::vec((keys, values), 0..4);
    let lines = lines.prop_map(|lines| lines.into_iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<String>());
    prop_oneof![4 => lines.prop_map(String::into_bytes), 1 => ".{0,40}".prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..40)]
}
