//! A duration in an attribute has the same form as in a configuration, although two parsers read them: the macros do not depend on
//! `saga-core`.

use std::time::Duration;

use proptest::prelude::*;
use sagas::time::duration;

use crate::budget::cases;

#[allow(dead_code, reason = "the file is the macros' own, with the ranges that only they parse")]
#[path = "../../saga-macros/src/shared/duration.rs"]
mod literal;

/// The durations that attributes accept; a configuration accepts all.
fn fits_an_attribute(duration: &Duration) -> bool {
    !duration.is_zero() && *duration <= Duration::from_secs(30 * 86_400)
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn attributes_and_configurations_take_the_same_texts(
        text in prop_oneof![
            "([0-9]{1,3}(d|h|m|s|ms)){1,5}",
            "([0-9]{1,2}d)?([0-9]{1,2}h)?([0-9]{1,2}m)?([0-9]{1,2}s)?([0-9]{1,3}ms)?",
            "[0-9 .dhms-]{0,12}",
            "[0-9]{1,30}(d|ms)",
            ".{0,8}",
        ],
    ) {
        prop_assert_eq!(literal::duration(&text).ok(), duration::parse(&text).filter(fits_an_attribute), "{}", text);
    }

    #[test]
    fn an_attribute_reads_what_is_written(millis in 1_u64..30 * 86_400_000) {
        let expected = Duration::from_millis(millis);
        prop_assert_eq!(literal::duration(&duration::text(expected)), Ok(expected));
    }
}
