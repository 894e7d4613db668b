//! A reader of the event stream, while the process is killed repeatedly.

use std::{collections::BTreeMap, time::Duration};

use sagas_tests::{
    EventStream,
    process::{Customers, Program, Service, Site, all_have_ended, free_base_port},
};

use super::program::serve;

const ORDERS: usize = 120;
const KILLS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

async fn read(site: &Site, seen: Option<&str>) -> EventStream {
    let url = site.url(Service::Analytics, "/analytics/stream");
    let request = site.http.get(url);
    EventStream::open(match seen {
        Some(id) => request.header("Last-Event-ID", id),
        None => request,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_hide_nothing_and_repeat_nothing() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let start = || Program::start(&mut serve(folder.path(), base_port));
    let mut program = start();
    program.serving().await;
    let mut stream = read(&shop, None).await;
    let mut seen = stream.next_of("snapshot").await.id.unwrap();

    let mut customers = Customers::of(std::slice::from_ref(&shop), 4);
    let mut told = Vec::new();
    for kill in 1..=KILLS {
        customers.allow(ORDERS / KILLS);
        customers.have_placed(kill * ORDERS / KILLS - 5, PATIENCE).await;
        program.kill().await;
        // Events that were in flight at the kill may still arrive.
        while let Some(event) = stream.next().await {
            told.extend(Some(event).filter(|event| event.name == "order"));
        }
        if let Some(last) = told.last().and_then(|last: &sagas_tests::ServerEvent| last.id.clone()) {
            seen = last;
        }
        program = start();
        program.serving().await;
        stream = read(&shop, Some(&seen)).await;
    }
    customers.have_placed(ORDERS, PATIENCE).await;
    let orders = customers.leave().await;
    all_have_ended(&shop, PATIENCE).await;

    // Every event of the orders, once.
    let mut expected = 0;
    for order_id in orders.values() {
        let history = shop.get(Service::Order, &format!("/orders/{order_id}/events")).await.unwrap();
        expected += history.as_array().unwrap().len();
    }
    while told.len() < expected {
        told.push(stream.next_of("order").await);
    }
    let positions: Vec<_> = told.iter().map(sagas_tests::ServerEvent::position).collect();
    assert_eq!(positions, (1..=i64::try_from(expected).unwrap()).collect::<Vec<_>>());
    let mut events: BTreeMap<&str, usize> = BTreeMap::new();
    for change in &told {
        *events.entry(change.text("eventId")).or_default() += 1;
    }
    assert_eq!(events.len(), expected, "each event once");
    for order_id in orders.values() {
        let last = told.iter().rfind(|change| change.data["orderId"] == order_id.as_str()).unwrap();
        assert_eq!(last.text("status"), shop.status(order_id).await.unwrap());
    }

    // A stop with a connected reader ends in time.
    program.signal("TERM").await;
    let ended = program.ends_within(Duration::from_secs(10)).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert!(!ended.stderr.contains("some work did not end in time"), "{ended:#?}");
    while stream.next().await.is_some() {}
}
