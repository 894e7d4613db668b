//! The interface to a schema registry.

use std::fmt;

use async_trait::async_trait;

/// The id of a schema in a registry.
pub type SchemaId = u32;

/// The language of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemaKind {
    /// Avro's JSON.
    Avro,
    /// A `.proto` file.
    Protobuf,
}

impl SchemaKind {
    /// Returns the name in the registry's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Protobuf => "PROTOBUF",
        }
    }
}

impl fmt::Display for SchemaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A schema of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Schema {
    /// The language.
    pub kind: SchemaKind,
    /// The text.
    pub text: &'static str,
}

impl Schema {
    /// Creates a schema from its text.
    pub const fn new(kind: SchemaKind, text: &'static str) -> Self {
        Self { kind, text }
    }
}

/// A schema from a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedSchema {
    /// The language, by its name in the registry's API.
    pub kind: String,
    /// The text.
    pub text: String,
}

/// A type with a schema that it is written with.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no schema",
    label = "by which schema is it written?",
    note = "implement `HasSchema` for it: `const SCHEMA: Schema = Schema::new(SchemaKind::Avro, include_str!(\"..\"));`"
)]
pub trait HasSchema {
    /// The schema.
    const SCHEMA: Schema;
}

/// An error of a schema registry.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry cannot be reached, or cannot answer now. The same call may succeed later.
    #[error("the schema registry is unavailable: {0}")]
    Unavailable(String),
    /// The registry does not have the schema.
    #[error("the schema registry has no {0}")]
    Missing(String),
    /// The registry rejects the request, and will do so again: the schema is not compatible with earlier ones, or the credential is not
    /// valid.
    #[error("the schema registry refuses: {0}")]
    Refused(String),
}

/// The same text as `Display`, because a `main` that returns the error prints it with `Debug`.
impl std::fmt::Debug for RegistryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A schema registry.
#[async_trait]
pub trait SchemaRegistry: Send + Sync + 'static {
    /// Returns the id of `schema` under `subject`. Registers the schema if it is not registered yet.
    ///
    /// # Errors
    /// Returns an error if the registry rejects the schema or cannot be reached.
    async fn register(&self, subject: &str, schema: Schema) -> Result<SchemaId, RegistryError>;

    /// Returns the id of `schema` under `subject`.
    ///
    /// # Errors
    /// Returns an error if the schema is not registered or the registry cannot be reached.
    async fn look_up(&self, subject: &str, schema: Schema) -> Result<SchemaId, RegistryError>;

    /// Returns the schema with this id.
    ///
    /// # Errors
    /// Returns an error if the schema does not exist or the registry cannot be reached.
    async fn schema(&self, id: SchemaId) -> Result<OwnedSchema, RegistryError>;
}
