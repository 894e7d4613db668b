//! Checks the runbook against the code: every alert, condition and health check has a section, no other section exists, and every
//! link to a section is valid.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files below `folder` with the extension `ext`, and their texts.
fn files(folder: &str, ext: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, ext: &str, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, ext, found);
            } else if path.to_string_lossy().ends_with(ext) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), ext, &mut found);
    assert!(!found.is_empty(), "no {ext} in {folder}");
    found
}

/// Returns the headings of a page: level, text, and GitHub's anchor.
fn headings(page: &str) -> Vec<(usize, String, String)> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut fenced = false;
    let mut found = Vec::new();
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if fenced || level == 0 {
            continue;
        }
        let text = line[level..].trim().to_owned();
        let kept =
            text.to_lowercase().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter)).collect::<String>();
        let slug = kept.replace(' ', "-");
        let count = seen.entry(slug.clone()).and_modify(|count| *count += 1).or_insert(0);
        let anchor = if *count == 0 { slug } else { format!("{slug}-{count}") };
        found.push((level, text, anchor));
    }
    found
}

/// Returns the sections below the chapter `chapter` of the runbook.
fn sections(chapter: &str) -> BTreeSet<String> {
    let page = headings(&read("docs/runbook.md"));
    let below = page.iter().skip_while(|(level, text, _)| !(*level == 1 && text == chapter)).skip(1);
    let found: BTreeSet<_> = below.take_while(|(level, ..)| *level > 1).map(|(_, text, _)| text.clone()).collect();
    assert!(!found.is_empty(), "the runbook has no chapter `{chapter}`");
    found
}

/// Returns the texts between quotes that follow `before` in `text`, with white space in between.
fn quoted_after(text: &str, before: &str) -> Vec<String> {
    let parts = text.split(before).skip(1);
    let quoted = parts.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    quoted
        .filter(|name| name.contains('_') && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .map(str::to_owned)
        .collect()
}

/// Returns `source` without its tests.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod ").next().unwrap()
}

/// Returns the names of the conditions that the code raises.
fn conditions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let folders = ["saga-core/src/runtime", "saga-core/src/store", "saga-kafka/src"];
    for (path, source) in folders.iter().flat_map(|folder| files(folder, ".rs")) {
        if path.components().any(|part| part.as_os_str() == "metrics") {
            continue;
        }
        if path.components().any(|part| part.as_os_str() == "tests")
            || path.ends_with("tests.rs")
            || path.ends_with("feed_tests.rs")
        {
            continue;
        }
        let source = without_tests(&source);
        for call in ["conditions.raise(", "Problem::critical(", "Problem::warning(", "seen(", "set(core,", "condition:"] {
            names.extend(quoted_after(source, call));
        }
        // `Condition { name: "…", .. }`
        for made in source.split("Condition {").skip(1) {
            names.extend(quoted_after(made.split('}').next().unwrap(), "name:"));
        }
        // A constant of the runtime or the transport, an arm of a `match`, or an element of a list.
        names.extend(quoted_after(source, ": &str ="));
        names.extend(quoted_after(source, "=> ("));
        for list in source.split("for condition in [").skip(1) {
            names.extend(list.split(']').next().unwrap().split(',').map(|name| name.trim().trim_matches('"').to_owned()));
        }
    }
    // Names of series are not conditions.
    names.retain(|name| !name.starts_with("sagas_"));
    names
}

#[test]
fn every_alert_has_a_section_and_every_section_an_alert() {
    let rules = files("deploy/prometheus/rules", ".yml");
    let named = rules.iter().flat_map(|(_, text)| text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")));
    assert_eq!(named.map(str::to_owned).collect::<BTreeSet<_>>(), sections("Alerts"));
}

#[test]
fn every_condition_in_the_code_has_a_section_and_a_line_in_the_guide() {
    let (raised, told) = (conditions(), sections("Conditions"));
    assert_eq!(raised, told, "raised by the code, and told by the runbook");
    let guide = read("docs/guide/operations.md");
    let table = guide.split("\n## Conditions\n").nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
    let listed = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(raised, listed.map(str::to_owned).collect(), "raised by the code, and listed by the guide");
}

#[test]
fn every_check_of_health_has_a_section() {
    let source = read("saga-core/src/runtime/upkeep.rs");
    let source = without_tests(&source);
    let mut checks: BTreeSet<String> = BTreeSet::new();
    for call in ["health.check(", "health.watch(", "health.check_memory(", "health.watch_memory("] {
        let parts = source.split(call).skip(1);
        checks.extend(parts.filter_map(|rest| Some(rest.trim_start().strip_prefix('"')?.split('"').next()?.to_owned())));
    }
    checks.insert("running".to_owned());
    let told = sections("Health").into_iter().map(|section| section.trim_start_matches("check: ").to_owned());
    assert_eq!(checks, told.collect());
}

#[test]
fn every_link_to_the_runbook_leads_to_a_section() {
    let anchors: BTreeSet<_> = headings(&read("docs/runbook.md")).into_iter().map(|(.., anchor)| anchor).collect();
    let lead =
        |link: &str, from: &str| assert!(anchors.contains(link), "{from} links to #{link}, which the runbook does not have");
    for (path, text) in files("deploy/prometheus/rules", ".yml") {
        let from = path.display().to_string();
        let alerts = text.matches("- alert:").count();
        let links: Vec<_> =
            text.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: '")?.strip_suffix('\'')).collect();
        assert_eq!(links.len(), alerts, "{from}: each alert has its runbook_url");
        for link in links {
            match link
                .strip_prefix("docs/runbook.md#")
                .unwrap_or_else(|| panic!("{from}: {link} is no link to docs/runbook.md#…"))
            {
                // One rule covers all conditions, each with a section of its own.
                "{{ $labels.condition }}" => conditions().iter().for_each(|condition| lead(condition, &from)),
                anchor => lead(anchor, &from),
            }
        }
    }
    for part in read("docs/runbook.md").split("](#").skip(1) {
        lead(part.split(')').next().unwrap(), "the runbook");
    }
}

/// Every series in an alert is one that services export.
#[test]
fn every_series_of_the_rules_and_dashboards_is_one_that_services_show() {
    let mut shown = String::new();
    for folder in ["saga-core/src/runtime", "examples/ecommerce/src/services"] {
        shown.extend(files(folder, ".rs").into_iter().map(|(_, source)| source));
    }
    let asked = files("deploy", ".yml").into_iter().chain(files("deploy/grafana/dashboards", ".json"));
    for (path, text) in asked {
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'));
        for name in
            words.filter(|word| (word.starts_with("sagas_") || word.starts_with("payment_gateway_")) && !word.contains(':'))
        {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            let known = shown.contains(&format!("\"{name}\"")) || shown.contains(&format!("\"{base}\""));
            assert!(known, "{}: no service shows {name}", path.display());
        }
    }
}
