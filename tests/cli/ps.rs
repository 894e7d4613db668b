//! The command `sagas ps`.

use sagas_tests::process::{Program, eventually};
use serde_json::{Value, json};

use super::{
    program::{PATIENCE, on, sagas, text, values},
    records::{MINUTE, Services, one_of_each},
};

fn ids(values: &[Value]) -> Vec<&str> {
    values.iter().map(|value| value["sagaId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn open_instances_are_listed_newest_first() {
    let folder = one_of_each().await;
    let listed = text(folder.path(), &["ps"], 0).await;
    let lines: Vec<_> = listed.lines().collect();
    let heading = lines[0].split_whitespace().collect::<Vec<_>>();
    assert_eq!(heading, ["SAGA", "ID", "VERSION", "STATE", "STEP", "DURATION", "MOVED", "DEADLINE", "ATTENTION"]);
    let rows: Vec<_> = lines[1..].iter().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(rows, ["running", "odd", "old", "attention", "overdue"], "{listed}");
    let place = lines[0].find("STATE").unwrap();
    for (line, told) in
        [(1, "ProcessPayment"), (2, "CancelOrder"), (3, "definition not known"), (4, "no such card"), (5, "overdue")]
    {
        assert!(lines[line].contains(told) && lines[line][place..].starts_with("RUNNING"), "{told}: {listed}");
    }
}

#[tokio::test]
async fn programs_get_a_value_a_line() {
    let folder = one_of_each().await;
    let listed = values(folder.path(), &["ps", "--all"], 0).await;
    assert_eq!(ids(&listed), ["running", "done", "odd", "old", "attention", "overdue"]);
    let running = &listed[0];
    assert_eq!(running["service"], "order");
    assert_eq!((&running["saga"], &running["version"], &running["state"]), (&json!("PlaceOrder"), &json!(1), &json!("RUNNING")));
    assert_eq!(running["current"], "ProcessPayment");
    assert_eq!(running["expectedNext"], json!(["PaymentProcessed", "PaymentFailed"]));
    assert_eq!((&running["overdue"], &running["definitionKnown"]), (&json!(false), &json!(true)));
    let (overdue, old) = (&listed[5], &listed[3]);
    assert_eq!((&overdue["overdue"], &old["definitionKnown"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn what_is_wanted_is_chosen() {
    let folder = one_of_each().await;
    for (args, wanted) in [
        (&["--state", "completed", "--all"][..], &["done"][..]),
        (&["--saga", "PlaceOrder", "--limit", "2"], &["running", "odd"]),
        (&["--saga", "Refund"], &[]),
        (&["--stuck"], &["overdue", "attention"]),
        (&["--stuck", "--limit", "1"], &["overdue"]),
        (&["--stuck", "--state", "compensating"], &[]),
        (&["--service", "payment"], &[]),
    ] {
        let listed = values(folder.path(), &[&["ps"], args].concat(), 0).await;
        assert_eq!(ids(&listed), wanted, "{args:?}");
    }
}

#[tokio::test]
async fn how_many_more_there_are_is_said() {
    let folder = one_of_each().await;
    let listed = text(folder.path(), &["ps", "--limit", "2"], 0).await;
    assert!(listed.ends_with("and 3 more: raise --limit to see more"), "{listed}");
    let beside = on(folder.path(), &["ps", "--limit", "2", "--json"]).await;
    assert_eq!((beside.stdout.len(), beside.stderr.contains("and 3 more")), (2, true), "{beside:#?}");
}

#[tokio::test]
async fn why_one_is_stuck_is_said_and_the_stalest_comes_first() {
    let folder = one_of_each().await;
    let listed = text(folder.path(), &["ps", "--stuck"], 0).await;
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("STUCK") && lines.len() == 3, "{listed}");
    assert!(lines[1].starts_with("overdue ") && lines[1].contains(" overdue "), "{listed}");
    assert!(lines[2].starts_with("attention ") && lines[2].contains("no such card"), "{listed}");
}

#[tokio::test]
async fn nothing_is_listed_of_services_that_have_kept_nothing() {
    let folder = tempfile::tempdir().unwrap();
    Services::in_folder(folder.path()).await.stop().await;
    assert!(text(folder.path(), &["ps"], 0).await.contains("No such instance is open"));
    assert_eq!(text(folder.path(), &["ps", "--stuck"], 0).await, "Nothing is stuck.");
    assert_eq!(values(folder.path(), &["ps"], 0).await, [json!(null); 0]);
}

#[tokio::test]
async fn an_identity_is_shown_whole_and_cannot_command_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    let long = "x".repeat(300);
    services.keep(&services.instance(&long, MINUTE, &[])).await;
    services.keep(&services.instance("\u{1b}[2J\nred", 2 * MINUTE, &[])).await;
    services.stop().await;
    let listed = text(folder.path(), &["ps"], 0).await;
    assert!(listed.contains(&long) && !listed.contains('\u{1b}'), "{listed}");
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_shown_again_beside_a_writer_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    services.keep(&services.instance("first", MINUTE, &[])).await;
    let mut command = sagas(["ps", "--watch", "--every", "100ms", "--data"]);
    let watching = Program::start(command.arg(folder.path()));
    let shown = |id: &'static str| {
        let watching = &watching;
        eventually(PATIENCE, "the instance is shown", async move || {
            let lines = watching.printed();
            lines.iter().any(|line| line.contains(id)).then_some(()).ok_or_else(|| lines.join("\n"))
        })
    };
    shown("first").await;
    services.keep(&services.instance("second", MINUTE, &[])).await;
    shown("second").await;
    services.stop().await;
    watching.signal("INT").await;
    let ended = watching.ends_within(PATIENCE).await;
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
    assert!(ended.stdout.iter().any(String::is_empty) && !ended.stdout.concat().contains('\u{1b}'), "{ended:#?}");
}
