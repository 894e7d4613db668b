//! Checks that this crate is the code in the README.

const README: &str = include_str!("../../../../README.md");

fn block(language: &str) -> &'static str {
    let (_, block) = README.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("the README has no {language}"));
    block.split_once("```").unwrap().0
}

#[test]
fn its_programs_are_those_of_the_readme() {
    assert_eq!(block("rust,test_harness"), include_str!("../src/inventory.rs"));
    // On a free port.
    let free = block("rust,no_run").replace(r#"bind("127.0.0.1:8080")"#, r#"bind(std::env::var("ADDRESS")?)"#);
    assert_eq!(free, include_str!("../src/main.rs"));
    let (_, hello) = include_str!("../../../../examples/hello.rs").split_once("\n\n").unwrap();
    assert_eq!(block("rust,no_run"), hello);
}

#[test]
fn its_dependencies_are_those_of_the_readme() {
    let manifest = include_str!("../Cargo.toml");
    assert!(manifest.contains(block("toml").trim_end()), "{manifest}");
}
