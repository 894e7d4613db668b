//! What the macros accept, and what they say when they do not: every file in `ui/` is compiled against the facade crate, and
//! what the compiler says to those in `fail` is compared with the `.stderr` beside them. The checked-in expansions of
//! `saga-macros` are compiled as well.

#[test]
fn the_macros_accept_and_explain() {
    let cases = trybuild::TestCases::new();
    cases.pass("event/pass/*.rs");
    cases.compile_fail("event/fail/*.rs");
    cases.pass("handler/pass/*.rs");
    cases.compile_fail("handler/fail/*.rs");
    cases.pass("../../saga-macros/tests/expand/event/*.expanded.rs");
    cases.pass("../../saga-macros/tests/expand/handler/*.expanded.rs");
}
