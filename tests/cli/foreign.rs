//! Instances whose keys and events come from outside.

use sagas::time::Timestamp;

use super::{
    program::{text, values},
    records::{MINUTE, Services},
};

/// Text that a terminal would interpret as commands, and times at the limits of the range.
#[tokio::test]
async fn nothing_foreign_reaches_the_terminal_as_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    let id = "a\u{1b}[2J\u{9b}31m\u{7}\nb";
    for (number, stated) in [Timestamp::MIN, Timestamp::MAX].into_iter().enumerate() {
        let (mut instance, mut history) = services.instance(&format!("{id}{number}"), MINUTE, &["InventoryReserved"]);
        instance.set_attention("because of \u{1b}]0;x\u{7}", services.now);
        for seen in instance.body.seen.values_mut() {
            (seen.id, seen.at) = (format!("m{id}"), stated);
        }
        for entry in &mut history {
            (entry.at, entry.source, entry.note) = (stated, format!("s{id}"), Some(format!("n{id}")));
        }
        services.keep(&(instance, history)).await;
        services
            .bury("payment", &format!("letter{id}{number}"), &format!("{id}{number}"), "InventoryReserved", "inventory", id)
            .await;
    }
    services.stop().await;
    let harmless = |shown: &str| assert!(!shown.chars().any(|one| one.is_control() && one != '\n'), "{shown:?}");
    harmless(&text(folder.path(), &["ps"], 0).await);
    harmless(&text(folder.path(), &["ps", "--stuck"], 0).await);
    for number in ["0", "1"] {
        let id = format!("{id}{number}");
        harmless(&text(folder.path(), &["explain", &id], 0).await);
        let story = values(folder.path(), &["explain", &id], 0).await;
        assert_eq!(story[0]["sagaId"], id.as_str());
        assert!(!story[0].to_string().is_empty());
    }
    assert_eq!(values(folder.path(), &["ps"], 0).await.len(), 2);
}
