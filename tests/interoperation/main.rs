//! Records as other users of Apache Kafka write and read them: with Kafka's own console producer and consumer.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod console;
mod foreign;
mod readable;

use sagas::ServiceHandle;

/// Returns the sum of the series `name` whose labels contain `label`.
pub fn metric(service: &ServiceHandle, name: &str, label: &str) -> f64 {
    let text = service.metrics().render();
    let series = text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
