//! What the macros accept, and what they say when they do not: every file in `ui/` is compiled against the facade crate, and
//! what the compiler says to those in `fail` is compared with the `.stderr` beside them.

#[test]
fn the_macros_accept_and_explain() {
    let cases = trybuild::TestCases::new();
    cases.pass("event/pass/*.rs");
    cases.compile_fail("event/fail/*.rs");
    cases.pass("handler/pass/*.rs");
    cases.compile_fail("handler/fail/*.rs");
}
