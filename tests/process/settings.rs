//! The sources of settings and their precedence.

use std::{fs, path::Path, time::Duration};

use sagas_tests::process::Program;
use tokio::process::Command;

use super::program::ecommerce;

/// Returns the data folder that the command uses, from its error that it cannot: each folder here is below a regular file.
async fn wanted_data_dir(command: &mut Command) -> String {
    let ended = Program::run(command, Duration::from_secs(10)).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let named = ended.stderr.split_whitespace().find(|word| word.contains("from-") || word.ends_with("ecommerce-data"));
    named.unwrap_or_else(|| panic!("no folder is named: {ended:#?}")).to_owned()
}

#[tokio::test]
async fn flags_come_before_the_environment_before_the_file_before_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let wall = folder.path().join("ecommerce-data");
    fs::write(&wall, "a file, not a folder").unwrap();
    let below = |name: &str| wall.join(name).display().to_string();
    let config = folder.path().join("shop.toml");
    fs::write(&config, format!("base_port = 0\ndata_dir = '{}'", below("from-file"))).unwrap();

    let command = |sources: &[&str]| {
        let mut command = ecommerce(["--base-port", "0"]);
        command.current_dir(folder.path());
        for source in sources {
            match *source {
                "file" => command.arg("--config").arg(&config),
                "environment" => command.env("ECOMMERCE_DATA_DIR", below("from-environment")),
                _ => command.arg("--data-dir").arg(below("from-flag")),
            };
        }
        command
    };
    for (sources, expected) in [
        (&[][..], "./ecommerce-data".to_owned()),
        (&["file"], below("from-file")),
        (&["file", "environment"], below("from-environment")),
        (&["file", "environment", "flag"], below("from-flag")),
    ] {
        assert_eq!(wanted_data_dir(&mut command(sources)).await, expected, "{sources:?}");
    }
}

#[tokio::test]
async fn the_file_can_be_named_by_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("shop.toml");
    let wanted = config.join("from-file");
    fs::write(&config, format!("base_port = 0\ndata_dir = '{}'", wanted.display())).unwrap();
    let named = wanted_data_dir(ecommerce::<&Path>([]).env("ECOMMERCE_CONFIG", &config)).await;
    assert_eq!(Path::new(&named), wanted);
}
