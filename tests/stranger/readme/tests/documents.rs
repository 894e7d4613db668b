//! That this crate is what the README says.

const README: &str = include_str!("../../../../README.md");

fn block(language: &str) -> &'static str {
    let (_, block) = README.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("the README has no {language}"));
    block.split_once("```").unwrap().0
}

#[test]
fn the_first_example_is_in_it() {
    assert_eq!(block("rust"), include_str!("../src/inventory.rs"));
}

#[test]
fn its_dependencies_are_those_of_the_readme() {
    let manifest = include_str!("../Cargo.toml");
    assert!(manifest.contains(block("toml").trim_end()), "{manifest}");
}
