//! The accepted and rejected inputs of the macros. Every file in `ui/` is compiled with the facade crate, and the compiler's
//! output for those in `fail` is compared with the `.stderr` file of the same name. The checked-in expansions of `saga-macros`
//! are compiled too.
//!
//! Some of these outputs quote the compiler itself, and therefore belong to one version of it. With another compiler, only
//! outputs that consist of the macros' own errors are compared.

#![expect(clippy::print_stderr, reason = "the test reports what it leaves out")]

use std::{fs, path::PathBuf, process::Command};

/// The compiler that produced the `.stderr` files.
const WRITTEN_WITH: &str = "rustc 1.95.";

/// The marks of an output that quotes the compiler.
const COMPILERS_WORDS: [&str; 3] = ["error[E", "= help:", "= note:"];

#[test]
fn the_macros_accept_and_explain() {
    let cases = trybuild::TestCases::new();
    cases.pass("event/pass/*.rs");
    cases.pass("handler/pass/*.rs");
    cases.pass("saga/pass/*.rs");
    cases.pass("../../saga-macros/tests/expand/event/*.expanded.rs");
    cases.pass("../../saga-macros/tests/expand/handler/*.expanded.rs");
    cases.pass("../../saga-macros/tests/expand/saga/*.expanded.rs");
    if compiler().starts_with(WRITTEN_WITH) {
        cases.compile_fail("event/fail/*.rs");
        cases.compile_fail("handler/fail/*.rs");
        cases.compile_fail("saga/fail/*.rs");
    } else {
        eprintln!("not {WRITTEN_WITH}x: texts that quote the compiler are not compared");
        let ours: Vec<PathBuf> = ["event/fail", "handler/fail", "saga/fail"].into_iter().flat_map(texts_of_ours).collect();
        assert!(ours.len() > 40, "most texts are ours");
        ours.iter().for_each(|case| cases.compile_fail(case));
    }
}

/// Returns the cases in `folder` whose output does not quote the compiler.
fn texts_of_ours(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("the cases are there").map(|file| file.expect("it can be listed").path());
    let cases = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let ours = |case: &PathBuf| {
        let text = fs::read_to_string(case.with_extension("stderr")).expect("every case has its text");
        !COMPILERS_WORDS.iter().any(|words| text.contains(words))
    };
    cases.filter(ours).collect()
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("the compiler says its version");
    String::from_utf8_lossy(&version.stdout).into_owned()
}
