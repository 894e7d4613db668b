//! Extracts the code with handlers from the pages that show it, so that the tests in `handlers` call the code that a reader sees.
//! Each block becomes `OUT_DIR/<page>/<first handler>.rs`, as rustdoc would compile it. An example is one block.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    // Read at run time: the script may have been compiled when the repository was in another folder.
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where")).join("..");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where"));
    // Removes the blocks of earlier runs.
    let _ = fs::remove_dir_all(&out);
    println!("cargo::rerun-if-changed={}", root.join("docs/guide").display());
    let guide = fs::read_dir(root.join("docs/guide")).expect("the guide").map(|entry| entry.expect("a page").path());
    for page in guide.chain([root.join("README.md")]) {
        println!("cargo::rerun-if-changed={}", page.display());
        let folder = out.join(page.file_stem().expect("a name").to_ascii_lowercase());
        for block in blocks(&fs::read_to_string(&page).expect("a page")) {
            keep(&folder, &block);
        }
    }
    for example in ["hello.rs", "existing-service/main.rs"] {
        let path = root.join("examples").join(example);
        println!("cargo::rerun-if-changed={}", path.display());
        let code = fs::read_to_string(&path).expect("an example");
        // An included file cannot have inner attributes or inner doc comments.
        let code: Vec<_> = code.lines().filter(|line| !line.starts_with("//!")).collect();
        keep(&out.join("examples").join(example).with_extension(""), &code.join("\n"));
    }
}

fn keep(folder: &Path, block: &str) {
    if let Some(name) = first_handler(block) {
        let file = folder.join(name).with_extension("rs");
        assert!(!file.exists(), "two blocks of a page begin with the handler `{name}`: {}", file.display());
        fs::create_dir_all(folder).expect("a folder");
        fs::write(file, block).expect("a file");
    }
}

/// Returns the Rust blocks of a page, with the lines that rustdoc hides.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some(language.to_owned() + "\n"),
            (Some(block), None) => {
                let trimmed = line.trim_start();
                block.push_str(trimmed.strip_prefix("# ").unwrap_or(if trimmed == "#" { "" } else { line }));
                block.push('\n');
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, None) => {}
        }
    }
    let rust = blocks.iter().filter_map(|block| block.split_once('\n')).filter(|(language, _)| language.starts_with("rust"));
    rust.map(|(_, code)| code.to_owned()).collect()
}

fn first_handler(block: &str) -> Option<&str> {
    let (_, after) = block.split_once("#[handler")?;
    let (_, after) = after.split_once("async fn ")?;
    Some(&after[..after.find(['(', '<'])?])
}
