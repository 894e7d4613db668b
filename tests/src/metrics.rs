//! Reading the metrics of a service.

use sagas::ServiceHandle;

/// Returns the sum of the series `name` whose labels contain `label`; of all its series if `label` is empty.
///
/// # Panics
/// Panics when a value is not a number.
pub fn metric(service: &ServiceHandle, name: &str, label: &str) -> f64 {
    metric_of(service, name, &[label])
}

/// Returns the sum of the series `name` whose labels contain each of `labels`.
///
/// # Panics
/// Panics when a value is not a number.
pub fn metric_of(service: &ServiceHandle, name: &str, labels: &[&str]) -> f64 {
    let text = service.metrics().render();
    let wanted = |line: &&str| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label));
    text.lines().filter(wanted).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
