//! The guide, from a first service to its operation. Each page is a module. The examples are compiled and run as tests.
//!
//! Every page is a module in every build, so that links to it work. If the examples of a page need features that the build does
//! not have, the page links to docs.rs instead.

/// A page: the module, the features that its examples need, and its text.
macro_rules! page {
    ($name:ident, [$($feature:literal),*], $text:expr) => {
        #[cfg_attr(all($(feature = $feature),*), doc = $text)]
        #[cfg_attr(
            not(all($(feature = $feature),*)),
            doc = concat!(
                "This page is in the documentation with the features",
                $(" `", $feature, "`",)*
                ": <https://docs.rs/sagas/latest/sagas/guide/", stringify!($name), "/index.html>."
            )
        )]
        pub mod $name {}
    };
}

page!(first_service, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/first-service.md"));
page!(glossary, [], include_str!("../docs/glossary.md"));
page!(features, [], include_str!("../docs/guide/features.md"));
page!(handlers, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/handlers.md"));
page!(delivery, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/delivery.md"));
page!(changing_events, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/changing-events.md"));
page!(encodings, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/encodings.md"));
page!(foreign_producers, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/foreign-producers.md"));
page!(sagas, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/sagas.md"));
page!(splitting_a_saga, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/splitting-a-saga.md"));
page!(testing, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/testing.md"));
page!(operations, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/operations.md"));
page!(protecting_operators, ["config", "http", "sqlite", "test-util"], include_str!("../docs/guide/protecting-operators.md"));
page!(tracing, ["config", "http", "otel", "sqlite", "test-util"], include_str!("../docs/guide/tracing.md"));
page!(http, ["config", "openapi", "sqlite", "test-util"], include_str!("../docs/guide/http.md"));
page!(postgres, ["config", "http", "postgres", "sqlite", "test-util"], include_str!("../docs/guide/postgres.md"));
page!(existing_service, ["config", "http", "postgres", "sqlite", "test-util"], include_str!("../docs/guide/existing-service.md"));
page!(kafka, ["config", "http", "kafka", "sqlite", "test-util"], include_str!("../docs/guide/kafka.md"));
