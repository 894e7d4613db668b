use std::path::PathBuf;

use serde::Deserialize;
use tempfile::TempDir;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    data_dir: String,
    base_port: u16,
    broker: Option<String>,
    services: Vec<String>,
    limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    lanes: usize,
    label: String,
}

#[derive(Default, Serialize)]
struct Flags {
    base_port: Option<u16>,
    data_dir: Option<String>,
}

fn defaults() -> Config {
    Config {
        data_dir: "data".to_owned(),
        base_port: 8081,
        broker: None,
        services: Vec::new(),
        limits: Limits { lanes: 4, label: "default".to_owned() },
    }
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.toml");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

fn from(text: &str, variables: &[(&str, &str)], flags: Flags) -> Result<Config, ConfigError> {
    let (_folder, path) = file(text);
    let variables = variables.iter().map(|&(name, value)| (name.into(), value.into()));
    load_with(defaults(), Some(&path), "SHOP_", variables, flags)
}

#[test]
fn each_source_overrides_the_one_before() {
    let flag = || Flags { base_port: Some(4), data_dir: None };
    for (text, variables, flags, port) in [
        ("", &[][..], Flags::default(), 8081),
        ("base_port = 2", &[], Flags::default(), 2),
        ("base_port = 2", &[("SHOP_BASE_PORT", "3")], Flags::default(), 3),
        ("base_port = 2", &[("SHOP_BASE_PORT", "3")], flag(), 4),
        ("", &[], flag(), 4),
    ] {
        assert_eq!(from(text, variables, flags).expect("a configuration").base_port, port);
    }
}

#[test]
fn what_is_not_given_stays() {
    let config = from("[limits]\nlanes = 8", &[], Flags::default()).expect("a configuration");
    let expected = Config { limits: Limits { lanes: 8, ..defaults().limits }, ..defaults() };
    assert_eq!(config, expected);
}

#[test]
fn variables_reach_inside_and_read_by_type() {
    let variables = [
        ("SHOP_LIMITS__LANES", "16"),
        ("SHOP_LIMITS__LABEL", "2024"),
        ("SHOP_BROKER", "true"),
        ("SHOP_SERVICES", r#"["order", "payment"]"#),
        ("SHOP_DATA_DIR", "007"),
        ("SHOP_PORT", "tcp://10.0.0.1:80"),
        ("OTHER_BASE_PORT", "1"),
    ];
    let config = from("", &variables, Flags::default()).expect("a configuration");
    let expected = Config {
        data_dir: "007".to_owned(),
        base_port: 8081,
        broker: Some("true".to_owned()),
        services: vec!["order".to_owned(), "payment".to_owned()],
        limits: Limits { lanes: 16, label: "2024".to_owned() },
    };
    assert_eq!(config, expected);
}

#[test]
fn every_mistake_names_its_place() {
    for (text, variables, message) in [
        (
            "data_dri = 'x'",
            &[][..],
            "`data_dri` in the configuration file PATH is not known; the known ones are base_port, broker, data_dir, limits, services",
        ),
        (
            "[limits]\nlaness = 3",
            &[],
            "`limits.laness` in the configuration file PATH is not known; the known ones are lanes, label",
        ),
        (
            "base_port = 'secret'",
            &[],
            "`base_port` in the configuration file PATH must be a whole number from 0 to 65535, not a text",
        ),
        (
            "base_port = 70000",
            &[],
            "`base_port` in the configuration file PATH must be a whole number from 0 to 65535, not 70000",
        ),
        ("base_port =", &[], "the configuration file PATH is no TOML: line 1: "),
        (
            "",
            &[("SHOP_BASE_PORT", "secret")],
            "`base_port` in the environment variable SHOP_BASE_PORT must be a whole number from 0 to 65535, not a text",
        ),
        (
            "",
            &[("SHOP_LIMITS__LANES", "-1")],
            "`limits.lanes` in the environment variable SHOP_LIMITS__LANES must be a whole number, at least 0, not -1",
        ),
        (
            "",
            &[("SHOP_LIMITS__X", "1")],
            "`limits.x` in the environment variable SHOP_LIMITS__X is not known; the known ones are lanes, label",
        ),
    ] {
        let (_folder, path) = file(text);
        let variables = variables.iter().map(|&(name, value)| (name.into(), value.into()));
        let error = load_with(defaults(), Some(&path), "SHOP_", variables, ()).expect_err(message).to_string();
        let error = error.replace(&path.display().to_string(), "PATH");
        assert!(error.starts_with(message), "{error}\n{message}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_flag_that_is_no_key_is_an_error() {
    #[derive(Serialize)]
    struct Wrong {
        base_prot: Option<u16>,
    }
    let error = load_with(defaults(), None, "SHOP_", [], Wrong { base_prot: Some(1) }).expect_err("no such key");
    assert!(error.to_string().starts_with("`base_prot` in the flag --base-prot is not known"), "{error}");
}

#[test]
fn a_file_that_is_named_has_to_be_there() {
    let error = load_with(defaults(), Some(Path::new("/nowhere/shop.toml")), "SHOP_", [], ()).expect_err("no file");
    assert!(error.to_string().starts_with("the configuration file /nowhere/shop.toml cannot be read: "), "{error}");
}
