//! Calls every handler that the README, the guide and the small examples show, as the async fn that it is. The code is that of
//! the pages; `build.rs` extracts it. There is one module for each page; `documents` reports a page with a handler that no test
//! calls.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the code is copied from the pages"
)]

/// Includes the block of a page whose first handler has this name.
macro_rules! shown {
    ($page:literal, $handler:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $page, "/", $handler, ".rs"));
    };
}

mod existing_service;
mod first_service;
mod foreign_producers;
mod handlers;
mod hello;
mod readme;
mod sagas;
mod splitting_a_saga;
mod testing;
