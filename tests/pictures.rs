//! Checks that the diagrams of sagas in the documents match the sagas; `UPDATE_PICTURES=1` updates them.
//!
//! A diagram is between `<!-- picture: place-order-state -->` and `<!-- /picture -->`.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use ecommerce::{
    ServiceName,
    contracts::PlaceOrder,
    services::{analytics, inventory, notification, order, payment},
};
use sagas::{prelude::*, saga::Chart};

const END: &str = "<!-- /picture -->";

/// Folders without documents of this repository.
const NOT_OURS: [&str; 3] = ["target", "node_modules", ".git"];

/// Returns the saga of the example, with services that do not run.
fn place_order() -> Chart {
    let mut app = App::new("ecommerce").saga::<PlaceOrder>();
    for name in ServiceName::ALL {
        let service = Service::new(name.as_str(), Database::memory());
        app = app.service(match name {
            ServiceName::Order => service.handlers(order::handlers()).tracks(Tracker::of::<PlaceOrder>()),
            ServiceName::Inventory => service.handlers(inventory::handlers()),
            ServiceName::Payment => service.handlers(payment::handlers()),
            ServiceName::Notification => service.handlers(notification::handlers()),
            ServiceName::Analytics => service.handlers(analytics::handlers()),
        });
    }
    let [chart] = app.charts().try_into().expect("the example has one saga");
    chart
}

/// Returns the diagrams, by the names that documents use.
fn pictures() -> BTreeMap<&'static str, String> {
    let chart = place_order();
    let mermaid = |text: String| format!("```mermaid\n{text}```\n");
    // The document has its own heading.
    let canvas = chart.canvas().split_once("\n\n").expect("a heading").1.to_owned();
    BTreeMap::from([
        ("place-order-state", mermaid(chart.state_diagram())),
        ("place-order-sequence", mermaid(chart.sequence_diagram())),
        ("place-order-canvas", canvas),
    ])
}

/// Collects the Markdown files below `folder`.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() && !NOT_OURS.iter().any(|other| name == *other) {
            documents(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    Ok(())
}

/// Returns `text` with its diagrams updated, and their names.
///
/// # Errors
/// When a diagram has no end mark, or when its name is unknown.
fn redrawn(text: &str, pictures: &BTreeMap<&'static str, String>) -> Result<(String, Vec<String>), String> {
    let (mut drawn, mut names, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, after)) = rest.split_once("<!-- picture: ") {
        let (name, after) = after.split_once(" -->\n").ok_or("the mark of a picture is not closed")?;
        let (_, after) = after.split_once(END).ok_or_else(|| format!("the picture {name} has no end: write {END} after it"))?;
        let known = || pictures.keys().copied().collect::<Vec<_>>().join(", ");
        let picture = pictures.get(name).ok_or_else(|| format!("there is no picture {name}; there are {}", known()))?;
        drawn += &format!("{before}<!-- picture: {name} -->\n{picture}{END}");
        names.push(name.to_owned());
        rest = after;
    }
    Ok((drawn + rest, names))
}

#[test]
fn the_documents_show_the_flow_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let (pictures, mut paths, mut shown, mut stale) = (pictures(), Vec::new(), Vec::new(), Vec::new());
    for folder in [root.join("docs"), root.join("examples")] {
        documents(&folder, &mut paths).expect("documents");
    }
    paths.push(root.join("README.md"));
    for path in paths {
        let text = fs::read_to_string(&path).expect("a document");
        let (drawn, names) = redrawn(&text, &pictures).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        shown.extend(names);
        if drawn == text {
            continue;
        }
        match env::var_os("UPDATE_PICTURES").is_some_and(|update| update == "1") {
            true => fs::write(&path, drawn).expect("written"),
            false => stale.push(path),
        }
    }
    assert!(stale.is_empty(), "pictures differ in {stale:?}; if that is meant, run the test with UPDATE_PICTURES=1");
    for name in pictures.keys() {
        assert!(shown.iter().any(|shown| shown == name), "no document shows {name}");
    }
}

#[test]
fn who_takes_part_is_who_does_it_in_the_example() {
    let participants = place_order().participants;
    let done_by: Vec<_> = participants.done_by.iter().map(|(step, by)| (step.as_str(), by.as_str())).collect();
    assert_eq!(
        done_by,
        [("CancelOrder", "order"), ("ConfirmOrder", "order"), ("ProcessPayment", "payment"), ("ReserveInventory", "inventory")]
    );
    assert_eq!(participants.tracker.as_deref(), Some("order"));
}
