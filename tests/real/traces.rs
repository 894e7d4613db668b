//! One order is one trace over five processes, as a collector receives it.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use sagas_tests::{
    process::{Service, eventually, place},
    traces::{Receiver, Spans, Told, draw, text},
};

use super::{PATIENCE, fleet::Fleet, servers::Servers};

/// The number of an order whose payment is declined, according to [`sagas_tests::process::Fate`].
const DECLINED: usize = 3;

/// The events of such an order with the services that publish them, in the order of cause and effect.
const FLOW: [(&str, &str); 5] = [
    ("order", "OrderCreated"),
    ("inventory", "InventoryReserved"),
    ("payment", "PaymentFailed"),
    ("inventory", "InventoryReleased"),
    ("order", "OrderCancelled"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn an_order_that_is_given_up_is_one_trace_over_five_processes() {
    let servers = Servers::start().await;
    let receiver = Receiver::listen().await;
    // Some of the processes use gRPC, and the others HTTP.
    let mut fleet = Fleet::split(&servers, 1).await.collectors([receiver.grpc(), receiver.http()]);
    fleet.start_all().await;
    let site = fleet.site().clone();
    let order = place(&site, DECLINED).await;
    eventually(PATIENCE, "the order is cancelled, its customer told, and counted", async || {
        let status = site.status(&order).await?;
        let told = site.count_of(Service::Notification, "/notifications", &format!("orderId={order}")).await;
        let metrics = site.get(Service::Analytics, "/analytics/metrics").await?;
        let counted = metrics["orders"]["cancelled"].as_u64();
        let done = status == "CANCELLED" && told.is_ok_and(|told| told > 0) && counted == Some(1);
        done.then_some(()).ok_or_else(|| format!("{status}, {metrics}"))
    })
    .await;
    // A stop exports the remaining spans.
    for index in 0..fleet.members.len() {
        fleet.stop(index, Duration::from_secs(30)).await;
    }

    let all = receiver.spans();
    let begun = all.0.iter().find(|span| span.attribute("sagas.event") == "OrderCreated" && span.kind == "producer");
    let begun = begun.unwrap_or_else(|| panic!("nobody told of the order\n{}", text(&all)));
    let spans = all.of_trace(&begun.trace);
    keep(&spans);
    println!("{}", text(&spans));

    spans.assert_one_trace();
    let services: BTreeSet<_> = spans.0.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services.into_iter().collect::<Vec<_>>(), ["analytics", "inventory", "notification", "order", "payment"]);
    let root = spans.0.iter().find(|span| span.parent.is_none()).unwrap();
    assert_eq!((root.service.as_str(), root.kind.as_str()), ("order", "server"));
    assert!(root.name.starts_with("POST /") && root.attribute("http.route").ends_with("/orders"), "{root:?}");
    assert_eq!(root.attribute("http.response.status_code"), "202");

    let made = |(service, event): &(&str, &str)| -> &Told {
        let of_event =
            |span: &&Told| span.service == *service && span.kind == "producer" && span.attribute("sagas.event") == *event;
        let found: Vec<_> = spans.0.iter().filter(of_event).collect();
        assert_eq!(found.len(), 1, "{event} of {service}");
        found[0]
    };
    for steps in FLOW.windows(2) {
        let (cause, effect) = (made(&steps[0]), made(&steps[1]));
        let delivery = spans.parent(effect);
        assert_eq!((delivery.kind.as_str(), delivery.service.as_str()), ("consumer", steps[1].0), "{steps:?}");
        assert_eq!(spans.parent(delivery).span, cause.span, "{steps:?}");
        assert!(delivery.attribute("messaging.kafka.offset").parse::<i64>().is_ok(), "{delivery:?}");
    }
    // Each published event was sent, and the broker returned its position.
    for made in spans.0.iter().filter(|span| span.kind == "producer") {
        let sent = |span: &&Told| span.kind == "client" && span.parent.as_ref() == Some(&made.span);
        assert_eq!(spans.0.iter().filter(sent).count(), 1, "{made:?}");
    }
    assert!(!spans.of("notification", "process orders").is_empty() && !spans.of("analytics", "process orders").is_empty());
}

/// Writes the trace and its picture to the folder from which the documentation takes them.
fn keep(spans: &Spans) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("traces");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("order.json"), serde_json::to_string_pretty(&spans.0).unwrap()).unwrap();
    fs::write(folder.join("order.svg"), draw(spans, "One order that the bank declines, over five processes")).unwrap();
    fs::write(folder.join("order.txt"), text(spans)).unwrap();
    println!("the trace is in {}", folder.display());
}
