//! The guide: from a first service to operating one. Each page is a module; its examples are run as tests.

#[doc = include_str!("../docs/guide/first-service.md")]
pub mod first_service {}

#[doc = include_str!("../docs/guide/handlers.md")]
pub mod handlers {}

#[doc = include_str!("../docs/guide/delivery.md")]
pub mod delivery {}

#[doc = include_str!("../docs/guide/sagas.md")]
pub mod sagas {}

#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

#[doc = include_str!("../docs/guide/operations.md")]
pub mod operations {}

#[doc = include_str!("../docs/guide/tracing.md")]
pub mod tracing {}

#[cfg(feature = "openapi")]
#[doc = include_str!("../docs/guide/http.md")]
pub mod http {}

#[cfg(feature = "postgres")]
#[doc = include_str!("../docs/guide/postgres.md")]
pub mod postgres {}

#[cfg(feature = "kafka")]
#[doc = include_str!("../docs/guide/kafka.md")]
pub mod kafka {}
