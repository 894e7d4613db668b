//! The parts of descriptions by OpenAPI that several groups of routes use: responses, schemas, and the credentials of operators.

pub(crate) mod answers;
mod operated;
mod vocabulary;

pub use answers::{Conflict, NotFound, problem};
pub(crate) use operated::operated;
pub(crate) use vocabulary::{base64, base64_or_null, page, words};
