//! Settings of a program: defaults, overridden by a TOML file, by the environment, by flags, in that order.
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
//! // SHOP_BASE_PORT would come before the file, and the flag comes before both.
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

/// Why there is no configuration. Every message names the place and the fix; none repeats a text that was given, which may be a
/// secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file that was named cannot be read.
    #[error("the configuration file {path} cannot be read: {error}; name another one, or none")]
    File {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration file {path} is no TOML: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// Where and why.
        message: String,
    },
    /// A key that means nothing.
    #[error("`{key}` in {place} is not known; known are {}", .known.join(", "))]
    UnknownKey {
        /// The key, as a path.
        key: String,
        /// Where it was given.
        place: String,
        /// The keys there are beside it.
        known: Vec<String>,
    },
    /// A value that does not fit.
    #[error("`{key}` in {place} {message}")]
    Invalid {
        /// The key, as a path.
        key: String,
        /// Where it was given.
        place: String,
        /// What is wrong, as the rest of a sentence.
        message: String,
    },
}

/// The configuration `T`: `defaults`, overridden by the keys of `file`, those by environment variables, those by `flags`.
///
/// - `file` is TOML. A file that is named has to be there. Keys that `T` has not are errors; put `#[serde(deny_unknown_fields)]`
///   on the structs inside `T`, too.
/// - An environment variable is `env_prefix` and the key in capitals, with `__` between the parts of a path: with the prefix
///   `SHOP_`, `SHOP_SETTINGS__LANES` is `settings.lanes`. Lists are written `[1, 2]`. Variables with the prefix that are no key
///   are left alone, because platforms set such by themselves.
/// - `flags` has fields named as `T`'s. `None` overrides nothing, so every flag is an `Option`.
///
/// `T` has to serialize all of its fields, unset ones as `None`.
///
/// # Errors
/// When the file cannot be read, or anything in it, the environment or the flags is unknown or does not fit.
pub fn load<T>(defaults: T, file: Option<&Path>, env_prefix: &str, flags: impl Serialize) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    load_with(defaults, file, env_prefix, std::env::vars_os(), flags)
}

/// The same, with these `variables` instead of the environment of the process.
///
/// # Errors
/// As [`load`].
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

    // A text like `2024` reads as a number. Where a text is asked for, it is taken as it stands.
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
        // `()` says that there are none.
        Value::Empty(..) => Ok(Dict::new()),
        other => Err(Box::new(Kind::InvalidType(other.to_actual(), "a struct".to_owned()).into())),
    }
}

/// Without what is `None`.
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
        // The text that toml shows around the mistake stays out of the message.
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        ConfigError::Syntax { path: shown, message: format!("line {line}: {}", error.message().replace('\n', ", ")) }
    })
}

/// The variables that are keys: path and value.
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

/// What the sources are called in messages.
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

/// What should have been given, in words. Other than Rust's numbers, serde says it in words itself.
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

/// What was given, without a text's content.
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
