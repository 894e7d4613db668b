//! What documents point to is there: the files that they link to, and the tests that they name.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Documents whose every name in backticks that reads like a test is one.
const NAME_TESTS: [&str; 3] = ["docs/guarantees.md", "docs/from-spring.md", "docs/comparison.md"];
/// Documents whose links are looked at.
const LINK: [&str; 4] = ["docs/guarantees.md", "docs/from-spring.md", "docs/comparison.md", "README.md"];

/// Words with at least so many underscores in backticks are names of tests, unless they are settings.
const UNDERSCORES: usize = 3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The names of all functions in Rust sources below `folder`.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                functions(&path, found);
            }
        } else if name.ends_with(".rs") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                let Some((_, after)) = line.split_once("fn ") else { continue };
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                found.insert(after[..end].to_owned());
            }
        }
    }
}

#[test]
fn the_tests_that_documents_name_are_there() {
    let mut there = BTreeSet::new();
    functions(&root(), &mut there);
    let settings = read("saga-core/src/settings.rs");
    for document in NAME_TESTS {
        let text = read(document);
        let quoted = text.split('`').skip(1).step_by(2);
        let names: BTreeSet<_> = quoted
            .filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
            .filter(|word| word.matches('_').count() >= UNDERSCORES && !settings.contains(&format!("pub {word}:")))
            .collect();
        assert!(names.len() > 20, "{document} names tests: {names:?}");
        let missing: Vec<_> = names.iter().filter(|name| !there.contains(**name)).collect();
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:?}");
    }
}

#[test]
fn the_files_that_the_page_for_spring_names_are_there() {
    let text = read("docs/from-spring.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-".contains(&byte);
    let files: BTreeSet<_> =
        quoted.filter(|word| word.contains('/') && !word.starts_with('/') && word.bytes().all(letters)).collect();
    assert!(files.len() > 20, "it names files: {files:?}");
    let places = [root(), root().join("examples/ecommerce/src")];
    let missing: Vec<_> = files.iter().filter(|file| !places.iter().any(|place| place.join(file).exists())).collect();
    assert!(missing.is_empty(), "it names files that are not there: {missing:?}");
}

/// The anchors of the headings of a Markdown text, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn what_documents_link_to_is_there() {
    for document in LINK {
        let text = read(document);
        let place = root().join(document);
        let targets = text.match_indices("](").map(|(at, _)| &text[at + 2..]).filter_map(|rest| rest.split_once(')'));
        let mut looked = 0;
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { place.clone() } else { place.parent().unwrap().join(file) };
            assert!(file.exists(), "{document} links to {target}, which is not there");
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(file).unwrap());
                assert!(there.contains(anchor), "{document} links to {target}, which has only {there:?}");
            }
            looked += 1;
        }
        assert!(looked > 0, "{document} has links");
    }
}
