//! Checks that the documents' references exist: linked files, and named tests.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Documents in which every name in backticks that looks like a test must be one.
const NAME_TESTS: [&str; 3] = ["docs/guarantees.md", "docs/from-spring.md", "docs/comparison.md"];
/// Documents whose links are checked.
const LINK: [&str; 4] = ["docs/guarantees.md", "docs/from-spring.md", "docs/comparison.md", "README.md"];

/// Words in backticks with at least this many underscores are names of tests, unless they are settings.
const UNDERSCORES: usize = 3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// Collects the names of all functions in Rust sources below `folder`.
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

/// Returns the anchors of the headings in a Markdown text, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// Returns the lines of a section of the workspace's manifest.
fn section(manifest: &str, header: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).map(str::to_owned).collect()
}

/// Returns the names of the crate's features.
fn features() -> Vec<String> {
    let lines = section(&read("Cargo.toml"), "[features]");
    let names = lines.iter().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_page_of_features_has_each_with_its_default() {
    let names = features();
    assert!(names.len() > 10, "{names:?}");
    let manifest = read("Cargo.toml");
    let default = manifest.lines().find(|line| line.starts_with("default = ")).unwrap();
    let (page, tour) = (read("docs/guide/features.md"), read("src/lib.rs"));
    for name in names.iter().filter(|name| *name != "default") {
        let is_default = default.contains(&format!("\"{name}\""));
        let row = format!("| `{name}`{} |", if is_default { " (default)" } else { "" });
        assert!(page.contains(&row), "docs/guide/features.md has no row that begins with {row}");
        let row = tour.lines().find(|line| line.starts_with(&format!("//! | `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("the table in src/lib.rs has no row of `{name}`"));
        assert_eq!(row.ends_with("| yes |"), is_default, "{row}");
    }
    let added: Vec<_> = page.lines().filter_map(|line| line.split_once("cargo add sagas")?.1.split_once("--features ")).collect();
    for (_, after) in &added {
        let list = after.split(['`', ' ']).next().unwrap();
        for name in list.split(',') {
            assert!(
                names.iter().any(|known| known == name),
                "docs/guide/features.md adds the feature `{name}`, which is not there"
            );
        }
    }
    assert!(added.len() > 3, "it has lines to write");
}

#[test]
fn documents_state_the_versions_that_the_manifest_has() {
    let manifest = read("Cargo.toml");
    let version = |line: &str| {
        let (_, after) = line.split_once("version = \"").unwrap();
        after.split('"').next().unwrap().to_owned()
    };
    let (page, tour, readme) = (read("docs/guide/features.md"), read("src/lib.rs"), read("README.md"));
    let dependencies = section(&manifest, "[workspace.dependencies]");
    for name in ["axum", "sqlx"] {
        let line = dependencies.iter().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
        let version = version(line);
        assert!(page.contains(&format!("| `{name}` | {version} |")), "docs/guide/features.md: {name} {version}");
        assert!(tour.contains(&format!("**{name} {version}**")), "src/lib.rs: {name} {version}");
        assert!(readme.contains(&format!("`{name}`")), "README.md: {name}");
    }
    let oldest = manifest.lines().find(|line| line.starts_with("rust-version = ")).unwrap();
    let oldest = oldest.split('"').nth(1).unwrap();
    assert!(page.contains(&format!("Rust {oldest},")), "docs/guide/features.md: Rust {oldest}");
    assert!(tour.contains(&format!("Rust has to be {oldest} or newer")), "src/lib.rs: Rust {oldest}");
    assert!(readme.contains(&format!("Rust has to be {oldest} or newer")), "README.md: Rust {oldest}");
}

#[test]
fn each_page_of_the_guide_is_in_the_crate_and_its_index() {
    let (guide, tour) = (read("src/guide.rs"), read("src/lib.rs"));
    let mut pages = 0;
    for entry in fs::read_dir(root().join("docs/guide")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let module = name.trim_end_matches(".md").replace('-', "_");
        assert!(guide.contains(&format!("include_str!(\"../docs/guide/{name}\")")), "src/guide.rs has no {name}");
        assert!(tour.contains(&format!("(guide::{module})")), "the index of the guide in src/lib.rs has no {module}");
        pages += 1;
    }
    assert!(pages > 10, "{pages} pages");
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

/// The files that show handlers which a reader may copy.
const SHOW_HANDLERS: [&str; 5] =
    ["README.md", "src/lib.rs", "src/macros.rs", "examples/hello.rs", "examples/existing-service/main.rs"];

/// Returns the names of the handlers in `text`, a page or a source file.
fn shown_handlers(text: &str) -> Vec<&str> {
    let attribute = |line: &str| line.trim_start_matches(['/', '!', ' ']).trim_start_matches("# ").starts_with("#[handler");
    let lines: Vec<_> = text.lines().collect();
    let handlers = (0..lines.len()).filter(|&at| attribute(lines[at]));
    let functions = handlers.filter_map(|at| lines[at..].iter().find_map(|line| line.split_once("async fn ")));
    functions.map(|(_, code)| code.split(['(', '<']).next().unwrap_or(code)).collect()
}

/// Returns whether `code` calls `function`.
fn calls(code: &str, function: &str) -> bool {
    code.match_indices(&format!("{function}(")).any(|(at, _)| {
        let before = &code[..at];
        !before.ends_with("fn ") && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

/// `tests/handlers` has a module for each page, which calls the page's own code. A page without such a module calls its handlers
/// in its doctests.
#[test]
fn the_handlers_that_pages_show_are_called() {
    let guide = fs::read_dir(root().join("docs/guide")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages = guide.map(|page| format!("docs/guide/{page}")).chain(SHOW_HANDLERS.map(str::to_owned));
    let mut shown = 0;
    for page in pages {
        let text = read(&page);
        let handlers = shown_handlers(&text);
        let path = Path::new(&page);
        let stem = if path.ends_with("main.rs") { path.parent().unwrap() } else { path }.file_stem().unwrap();
        let module = stem.to_str().unwrap().to_lowercase().replace('-', "_");
        let tests = fs::read_to_string(root().join("tests/handlers").join(&module).with_extension("rs")).unwrap_or_default();
        for handler in &handlers {
            let called = calls(&tests, handler) || calls(&text, handler);
            assert!(called, "{page} shows the handler `{handler}`, and no test calls it: add one to tests/handlers/{module}.rs");
        }
        shown += handlers.len();
    }
    assert!(shown > 20, "pages show {shown} handlers");
}

/// The third column of the glossary: the types, methods and modules that carry the terms.
#[test]
fn the_code_that_the_glossary_names_exists() {
    let text = read("docs/glossary.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| term"));
    let names: BTreeSet<_> = rows
        .flat_map(|row| row.split('|').nth(3).unwrap().split('`').skip(1).step_by(2))
        .filter(|code| !code.starts_with('#'))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    let mut sources = String::new();
    for part in ["saga-core/src", "saga-http/src", "saga-kafka/src", "src"] {
        text_of(&root().join(part), &mut sources);
    }
    let exists = |name: &str| {
        // The last is a variant.
        let declared =
            ["struct ", "enum ", "trait ", "type ", "fn ", "mod ", "pub ", "\n    "].map(|kind| format!("{kind}{name}"));
        declared.iter().any(|declared| {
            sources.match_indices(declared.as_str()).any(|(at, _)| {
                let after = sources[at + declared.len()..].chars().next();
                after.is_none_or(|next| !next.is_alphanumeric() && next != '_')
            })
        })
    };
    let missing: Vec<_> = names.iter().flat_map(|path| path.split("::")).filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "docs/glossary.md names code that does not exist: {missing:?}");
}

/// The text of all Rust sources below `folder`.
fn text_of(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text_of(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_java_of_the_guide_is_what_the_stranger_runs() {
    let (page, program) = (read("docs/guide/foreign-producers.md"), read("tests/stranger/java-records/Producer.java"));
    let (_, block) = page.split_once("```java\n").unwrap();
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert!(trimmed(&program).contains(&trimmed(block.split_once("\n```").unwrap().0)), "they differ");
}
