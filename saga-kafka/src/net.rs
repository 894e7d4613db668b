//! Protection of the clients' threads: a panic ends the current operation, but not the thread, which other tasks depend on.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Returns the result of `work`, or the message of its panic. The caller must then discard what `work` was changing.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text(&*panic).to_owned())
}

/// Runs an operation without a result. A panic is logged.
pub(crate) fn held(what: &str, work: impl FnOnce()) {
    if let Err(panic) = caught(work) {
        // The panic may have come from the log subscriber.
        let _ = caught(|| tracing::error!(panic, "{what} panicked; the client goes on without it"));
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_panic_is_kept() {
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(caught(|| panic!("no text")), Err::<(), _>("no text".to_owned()));
        let name = vec![0xff];
        assert!(caught(|| String::from_utf8(name).expect("a name")).is_err_and(|text| text.contains("a name")));
    }
}
