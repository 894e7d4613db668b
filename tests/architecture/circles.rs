//! The rule that modules do not use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    modules::{ModulePath, Modules},
    source::SourceFile,
};

/// The crates, by the folder of their root module.
const CRATES: &[&str] = &[
    "saga-core/src",
    "saga-http/src",
    "saga-kafka/src",
    "saga-macros/src",
    "saga-schema/src",
    "src",
    "src/bin/sagas",
    "examples/ecommerce/src",
];

/// Uses that close a circle and are allowed for now: the crate, the module, the modules that it uses, and the reason.
const EXCEPTIONS: &[(&str, &str, &[&str], &str)] = &[
    (
        "saga-core/src",
        "runtime::core",
        &["joined", "logs", "panics", "put_off", "replays", "saga", "spans", "timekeeper"],
        "the core has the state of each part of a service, and the fns of the parts take the core; the next issue splits it",
    ),
    ("saga-core/src", "runtime::saga", &["judge"], "`saga::deadlines` calls a handler itself; the next issue redesigns it"),
    (
        "saga-core/src",
        "runtime::saga",
        &["service"],
        "`saga::deadlines` creates the handle of the service; the next issue redesigns it. The checks at the start read `Service`",
    ),
    (
        "saga-core/src",
        "runtime::spans",
        &["item"],
        "the span of a delivery describes its item; the next issue redesigns deliveries",
    ),
    ("saga-core/src", "runtime::consumer::partition", &["replay"], "the next issue redesigns the ownership of partitions"),
    (
        "saga-core/src",
        "store::sql",
        &["database", "postgres"],
        "`Database` is an executor, and a lost connection is PostgreSQL's",
    ),
    ("saga-core/src", "store::sql_errors", &["postgres", "sqlite"], "an error of any database is converted by its store"),
    ("saga-core/src", "store::sqlite::writer", &["unit"], "the writer lends its connection to a unit, and the unit returns it"),
    (
        "saga-core/src",
        "transport::local::broker",
        &["subscription"],
        "the broker creates its members, and a member reads from its broker",
    ),
];

/// The uses between neighbours, which are modules with the same parent: (user, used), with the places of the uses.
type Arrows = BTreeMap<(ModulePath, ModulePath), BTreeSet<String>>;

/// A circle is a use that leads back to its module: a uses an item of b, and b uses an item of a, directly or through more modules.
///
/// - An item belongs to the module that defines it. A path through a re-export or an import counts as a use of that module.
/// - A module and the modules below it count as one: a child can use its parent, and a parent its children. So a use counts between the
///   two neighbours that contain the user and the used item, at the level where their paths part. This finds the circles between siblings,
///   and those between areas whose own files have none.
/// - Calls of methods and implementations of traits are not seen, only paths.
#[test]
fn modules_do_not_use_each_other_in_a_circle() {
    let mut wrong = Vec::new();
    for folder in CRATES {
        let mut arrows = arrows(&Modules::of(folder));
        let excepted = exceptions(folder).into_iter().filter_map(|(arrow, reason)| Some((arrows.remove_entry(&arrow)?, reason)));
        let excepted: Vec<_> = excepted.collect();
        for (user, used) in circles(&arrows) {
            let places: Vec<_> = arrows[&(user.clone(), used.clone())].iter().map(|place| format!("\n    {place}")).collect();
            let (user, used) = (user.join("::"), used.join("::"));
            wrong.push(format!(
                "{folder}: `{user}` uses `{used}`, which uses `{user}`; move what both need to one of them, or to a third module:{}",
                places.concat()
            ));
        }
        for (((user, used), _), reason) in excepted.iter().filter(|(((user, used), _), _)| !is_reached(&arrows, used, user)) {
            let (user, used) = (user.join("::"), used.join("::"));
            wrong.push(format!("{folder}: `{user}` may use `{used}`: remove it from EXCEPTIONS ({reason})"));
        }
        let removed = exceptions(folder).into_iter().filter(|(arrow, _)| !excepted.iter().any(|((used, _), _)| used == arrow));
        for ((user, used), _) in removed {
            let (user, used) = (user.join("::"), used.join("::"));
            wrong.push(format!("{folder}: `{user}` does not use `{used}`: remove it from EXCEPTIONS"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn circles_are_found_through_re_exports_and_below_areas() {
    let crate_of = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(path, text)| SourceFile {
            shown: (*path).to_owned(),
            module: path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            text: (*text).to_owned(),
        });
        let arrows = arrows(&Modules::new(files));
        circles(&arrows).into_iter().map(|(user, used)| format!("{} {}", user.join("::"), used.join("::"))).collect::<Vec<_>>()
    };
    let root = ("", "mod a; mod b; #[cfg(test)] mod tests;");
    // Siblings, through a re-export of their parent and through a module.
    let through = crate_of(&[
        ("", "mod a; mod b; mod c; pub use b::B;"),
        ("a", "use crate::B;"),
        ("b", "use super::c; fn b() { c::c(); } pub struct B;"),
        ("c", "pub fn c() { crate::a::x() }"),
    ]);
    assert_eq!(through, ["a b", "b c", "c a"]);
    // Areas: no file uses a file that uses it.
    let areas = crate_of(&[
        root,
        ("a", "mod x; mod y;"),
        ("a::x", "use crate::b::B as C;"),
        ("a::y", "pub struct Y;"),
        ("b", "use crate::a::y::Y; pub struct B;"),
    ]);
    assert_eq!(areas, ["a b", "b a"]);
    // A child and its parent, and modules that only tests have.
    let none = crate_of(&[
        root,
        ("a", "mod x; use x::X; pub struct A;"),
        ("a::x", "use super::A; use crate::b; pub struct X;"),
        ("b", "#[cfg(test)] use crate::a::A;"),
        ("tests", "use crate::a::A;"),
    ]);
    assert_eq!(none, Vec::<String>::new());
}

fn exceptions(folder: &str) -> Vec<((ModulePath, ModulePath), &'static str)> {
    let mut arrows = Vec::new();
    for (_, user, all, reason) in EXCEPTIONS.iter().filter(|(of, ..)| *of == folder) {
        let user: ModulePath = user.split("::").map(str::to_owned).collect();
        for used in *all {
            let used = [&user[..user.len() - 1], &[(*used).to_owned()]].concat();
            arrows.push(((user.clone(), used), *reason));
        }
    }
    arrows
}

/// Returns the arrows between neighbours.
fn arrows(modules: &Modules) -> Arrows {
    let mut arrows = Arrows::new();
    for one in modules.uses() {
        let common = one.user.iter().zip(&one.used).take_while(|(user, used)| user == used).count();
        if let (Some(user), Some(used)) = (one.user.get(..=common), one.used.get(..=common)) {
            arrows.entry((user.to_vec(), used.to_vec())).or_default().insert(one.shown);
        }
    }
    arrows
}

/// Returns the arrows that are part of a circle.
fn circles(arrows: &Arrows) -> Vec<(ModulePath, ModulePath)> {
    arrows.keys().filter(|(user, used)| is_reached(arrows, used, user)).cloned().collect()
}

/// Returns whether the arrows lead from one module to another.
fn is_reached(arrows: &Arrows, from: &ModulePath, to: &ModulePath) -> bool {
    let (mut reached, mut open) = (BTreeSet::from([from]), vec![from]);
    while let Some(at) = open.pop() {
        let next = arrows.keys().filter(|(user, _)| user == at).map(|(_, used)| used);
        open.extend(next.filter(|used| reached.insert(*used)));
    }
    reached.contains(to)
}
