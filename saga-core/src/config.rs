//! The configuration of a program: defaults, overridden by a TOML file, then by environment variables, then by flags.
//!
//! ```
//! # use saga_core::config::load;
//! # use serde::{Deserialize, Serialize};
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     data_dir: String,
//!     base_port: u16,
//!     broker: Option<String>,
//! }
//!
//! #[derive(Default, Serialize)] // and clap::Args
//! struct Flags {
//!     base_port: Option<u16>,
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("shop.toml");
//! std::fs::write(&path, "data_dir = '/var/lib/shop'\nbase_port = 9000")?;
//! let defaults = Config { data_dir: "data".into(), base_port: 8081, broker: None };
//! // SHOP_BASE_PORT would override the file, and the flag overrides both.
//! let config = load(defaults, Some(&path), "SHOP_", Flags { base_port: Some(9100) })?;
//! assert_eq!(config, Config { data_dir: "/var/lib/shop".into(), base_port: 9100, broker: None });
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use std::{collections::BTreeSet, ffi::OsString, path::Path};

use figment::{
    Figment, Metadata, Profile, Provider,
    error::{Actual, Kind},
    providers::{Format, Serialized, Toml},
    value::{Dict, Map, Value},
};
use serde::{Serialize, de::DeserializeOwned};

const FILE: &str = "file";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";

/// Why the configuration could not be loaded.
///
/// Each message names the source and the fix. No message repeats a value, which may be a secret.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("the configuration file {path} cannot be read: {error}; name another one, or none")]
    File {
        /// The path of the file.
        path: String,
        /// The cause.
        error: std::io::Error,
    },
    /// The file is not valid TOML.
    #[error("the configuration file {path} is no TOML: {message}")]
    Syntax {
        /// The path of the file.
        path: String,
        /// The line, and what is wrong there.
        message: String,
    },
    /// A key that does not exist.
    #[error("`{key}` in {place} is not known; the known ones are {}", .known.join(", "))]
    UnknownKey {
        /// The key, as a path.
        key: String,
        /// The source that contains it.
        place: String,
        /// The keys that exist at that place.
        known: Vec<String>,
    },
    /// A value that is missing, or that has the wrong type or range.
    #[error("`{key}` in {place} {message}")]
    Invalid {
        /// The key, as a path.
        key: String,
        /// The source that contains it.
        place: String,
        /// What is wrong, as the end of a sentence that begins with the key.
        message: String,
    },
}

/// Writes the same text as `Display`, because a `main` that returns the error prints it with `Debug`.
impl std::fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Loads the configuration `T`: `defaults`, overridden by the keys of `file`, then by environment variables, then by `flags`.
///
/// - `file` is TOML. If it is given, it must exist. Keys that `T` does not have are errors; put `#[serde(deny_unknown_fields)]` on the
///   structs inside `T` too.
/// - The name of an environment variable is `env_prefix` and the key in capitals, with `__` between the parts of a path: with the prefix
///   `SHOP_`, `SHOP_SETTINGS__LANES` is `settings.lanes`. Lists are written `[1, 2]`. Variables with the prefix that are not keys are
///   ignored, because platforms set such variables by themselves.
/// - `flags` has fields with the names of `T`'s fields. `None` overrides nothing, so each flag is an `Option`.
///
/// `T` must serialize all of its fields, unset ones as `None`.
///
/// # Errors
/// Returns an error if the file cannot be read, or if a key of the file, the environment or the flags is unknown or has an invalid value.
pub fn load<T>(defaults: T, file: Option<&Path>, env_prefix: &str, flags: impl Serialize) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    load_with(defaults, file, env_prefix, std::env::vars_os(), flags)
}

/// Like [`load`], with `variables` instead of the environment of the process.
///
/// # Errors
/// As for [`load`].
pub fn load_with<T>(
    defaults: T,
    file: Option<&Path>,
    env_prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    flags: impl Serialize,
) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    let places = Places { file, prefix: env_prefix };
    let known = dict(&defaults).map_err(|error| places.invalid(*error))?;
    let file = file.map_or_else(|| Ok(Dict::new()), read)?;
    let flags = given(dict(&flags).map_err(|error| places.invalid(*error))?);
    for (layer, keys) in [(FILE, &file), (FLAGS, &flags)] {
        if let Some(key) = keys.keys().find(|key| !known.contains_key(*key)) {
            return Err(places.unknown(Some(layer), key.clone(), known.keys().cloned().collect()));
        }
    }
    let variables = variables_of(env_prefix, variables, &known)?;

    // A value like `2024` is parsed as a number. Where a string is expected, it is used unchanged.
    let mut literal = BTreeSet::new();
    loop {
        let figment = Figment::from(Serialized::defaults(&defaults))
            .merge(Layer(FILE, file.clone()))
            .merge(Layer(ENVIRONMENT, environment(&variables, &literal)))
            .merge(Layer(FLAGS, flags.clone()));
        let error = match figment.extract() {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let misread = matches!(&error.kind, Kind::InvalidType(_, expected) if expected.contains("string"))
            && layer_of(&error) == Some(ENVIRONMENT);
        if !(misread && literal.insert(error.path.clone())) {
            return Err(places.invalid(error));
        }
    }
}

/// One source of settings.
struct Layer(&'static str, Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.1.clone())]))
    }
}

fn layer_of(error: &figment::Error) -> Option<&str> {
    error.metadata.as_ref().map(|metadata| metadata.name.as_ref())
}

fn dict(value: &impl Serialize) -> Result<Dict, Box<figment::Error>> {
    match Value::serialize(value).map_err(Box::new)? {
        Value::Dict(_, dict) => Ok(dict),
        // `()` has no flags.
        Value::Empty(..) => Ok(Dict::new()),
        other => Err(Box::new(Kind::InvalidType(other.to_actual(), "a struct".to_owned()).into())),
    }
}

/// Removes the keys with the value `None`.
fn given(dict: Dict) -> Dict {
    let given = dict.into_iter().filter_map(|(key, value)| match value {
        Value::Empty(..) => None,
        Value::Dict(tag, inner) => Some((key, Value::Dict(tag, given(inner)))),
        value => Some((key, value)),
    });
    given.collect()
}

fn read(path: &Path) -> Result<Dict, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File { path: shown.clone(), error })?;
    Toml::from_str(&text).map_err(|error| {
        // The excerpt that toml adds to its message may contain secrets, so only its line and reason are kept.
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        ConfigError::Syntax { path: shown, message: format!("line {line}: {}", error.message().replace('\n', ", ")) }
    })
}

/// Returns the environment variables that are keys: path and value.
fn variables_of(
    prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    known: &Dict,
) -> Result<Vec<(Vec<String>, String)>, ConfigError> {
    let mut found = Vec::new();
    for (name, value) in variables {
        let Some(key) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else { continue };
        let path: Vec<_> = key.to_lowercase().split("__").map(str::to_owned).collect();
        if !known.contains_key(&path[0]) {
            continue;
        }
        let value = value.into_string().map_err(|_| ConfigError::Invalid {
            key: path.join("."),
            place: format!("the environment variable {prefix}{key}"),
            message: "is not UTF-8".to_owned(),
        })?;
        found.push((path, value));
    }
    Ok(found)
}

fn environment(variables: &[(Vec<String>, String)], literal: &BTreeSet<Vec<String>>) -> Dict {
    let mut all = Dict::new();
    for (path, value) in variables {
        let parsed = value.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
        let value = if literal.contains(path) { Value::from(value.clone()) } else { parsed };
        insert(&mut all, path, value);
    }
    all
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            dict.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = dict.entry(key.clone()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// The names of the sources in messages.
struct Places<'a> {
    file: Option<&'a Path>,
    prefix: &'a str,
}

impl Places<'_> {
    fn name(&self, layer: Option<&str>, key: &str) -> String {
        match (layer, self.file) {
            (Some(FILE), Some(path)) => format!("the configuration file {}", path.display()),
            (Some(ENVIRONMENT), _) => {
                format!("the environment variable {}{}", self.prefix, key.replace('.', "__").to_uppercase())
            }
            (Some(FLAGS), _) => format!("the flag --{}", key.replace(['_', '.'], "-")),
            _ => "the configuration".to_owned(),
        }
    }

    fn unknown(&self, layer: Option<&str>, key: String, known: Vec<String>) -> ConfigError {
        ConfigError::UnknownKey { place: self.name(layer, &key), key, known }
    }

    fn invalid(&self, error: figment::Error) -> ConfigError {
        let layer = layer_of(&error);
        let mut path = error.path.clone();
        let message = match &error.kind {
            Kind::UnknownField(field, known) => {
                if path.last() != Some(field) {
                    path.push(field.clone());
                }
                return self.unknown(layer, path.join("."), known.iter().map(|&known| known.to_owned()).collect());
            }
            Kind::MissingField(field) => {
                path.push(field.to_string());
                "is missing; give it a value".to_owned()
            }
            Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
                format!("must be {}, not {}", wanted(&expected.to_string()), kind_of(actual))
            }
            Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
            Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "is out of range".to_owned(),
            Kind::Message(message) => format!("does not fit: {message}"),
            other => format!("does not fit: {other}"),
        };
        let key = path.join(".");
        ConfigError::Invalid { place: self.name(layer, &key), key, message }
    }
}

/// Describes the expected type. serde already describes types in words, except Rust's numbers.
fn wanted(expected: &str) -> String {
    let most = match expected {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        "u64" | "usize" => return "a whole number, at least 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => return "a whole number".to_owned(),
        "f32" | "f64" => return "a number".to_owned(),
        other => return other.to_owned(),
    };
    format!("a whole number from 0 to {most}")
}

/// Describes the value that was given, without the content of a string, which may be a secret.
fn kind_of(actual: &Actual) -> String {
    match actual {
        Actual::Str(_) => "a text".to_owned(),
        Actual::Bytes(_) => "bytes".to_owned(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
