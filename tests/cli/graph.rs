//! The command `sagas graph`.

use super::{
    flow::place_order,
    program::{is_refused, sagas, text, values},
    records::{Services, one_of_each},
};

#[tokio::test]
async fn the_flow_is_drawn_as_it_was_stored() {
    let (folder, chart) = (one_of_each().await, place_order());
    for (args, drawn) in [
        (&["graph"][..], chart.state_diagram()),
        (&["graph", "PlaceOrder", "--format", "sequence"], chart.sequence_diagram()),
        (&["graph", "PlaceOrder", "--format", "dot"], chart.graphviz()),
        (&["graph", "--format", "canvas"], chart.canvas()),
    ] {
        assert_eq!(text(folder.path(), args, 0).await.trim_end(), drawn.trim_end(), "{args:?}");
        let [value] = &values(folder.path(), args, 0).await[..] else { panic!("not one value") };
        assert_eq!((value["text"].as_str(), value["saga"].as_str()), (Some(&*drawn), Some("PlaceOrder")));
    }
}

#[tokio::test]
async fn the_newest_version_is_drawn_and_an_older_one_when_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    let mut newer = place_order();
    newer.definition.version = 10;
    services.define(&newer).await;
    services.stop().await;
    for (args, version) in [(&["graph"][..], 10), (&["graph", "PlaceOrder", "--saga-version", "1"], 1)] {
        let [value] = &values(folder.path(), args, 0).await[..] else { panic!("not one value") };
        assert_eq!(value["version"], version, "{args:?}");
    }
}

#[tokio::test]
async fn a_flow_that_is_not_there_is_named_with_those_that_are() {
    let folder = one_of_each().await;
    let mut command = sagas(["graph", "PlaceOder", "--data"]);
    command.arg(folder.path());
    is_refused(command, 1, &["there is no saga `PlaceOder` here; there are PlaceOrder (version 1)"]).await;
    let mut command = sagas(["graph", "--format", "svg", "--data"]);
    command.arg(folder.path());
    is_refused(command, 2, &["svg", "state", "sequence", "dot", "canvas"]).await;
}
