//! Golden samples: records of every published version of an event, as files, decoded by the current type. A service has such a
//! test for each of its contracts; each new version adds a file, and existing files never change.

use std::{collections::BTreeMap, fs, path::Path};

use sagas::{
    message::{Header, Record},
    prelude::*,
    testing::Pump,
    time::LogTime,
};
use serde::{Deserialize, Serialize};

/// The current event. It was named `Billed` in versions 1 and 2; `issued_by` was removed and `note` added, both without a new
/// version.
#[event(topic = "invoices", key = order_id, version = 3, also = ["Billed"], upcast(1 => from_v1, 2 => from_v2))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct InvoiceIssued {
    order_id: u64,
    total: Total,
    #[serde(default)]
    method: Method,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Total {
    cents: u64,
    currency: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    #[default]
    Card,
    /// A variant of a newer program.
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct V1 {
    order: String,
    amount: String,
}

#[derive(Deserialize)]
struct V2 {
    order_id: u64,
    cents: u64,
}

fn from_v1(old: V1) -> Result<V2, std::num::ParseIntError> {
    Ok(V2 { order_id: old.order.parse()?, cents: old.amount.replace('.', "").parse()? })
}

fn from_v2(V2 { order_id, cents }: V2) -> InvoiceIssued {
    InvoiceIssued { order_id, total: Total { cents, currency: "EUR".to_owned() }, method: Method::Card, note: None }
}

/// A record as its file contains it.
#[derive(Deserialize)]
struct Sample {
    headers: BTreeMap<String, String>,
    key: String,
    value: serde_json::Value,
}

fn samples() -> BTreeMap<String, Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("values/earlier");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let sample = |path: &Path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    files.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), sample(&path))).collect()
}

fn today(method: Method, note: Option<&str>) -> InvoiceIssued {
    let total = Total { cents: 1250, currency: "EUR".to_owned() };
    InvoiceIssued { order_id: 42, total, method, note: note.map(str::to_owned) }
}

/// Returns the current value of each file.
fn expected() -> BTreeMap<&'static str, InvoiceIssued> {
    [
        ("invoice-1", today(Method::Card, None)),
        ("invoice-2", today(Method::Card, None)),
        ("invoice-2-renamed", today(Method::Card, None)),
        ("invoice-3", today(Method::Card, None)),
        ("invoice-3-with-more", today(Method::Unknown, Some("paid at the door"))),
    ]
    .into()
}

#[test]
fn every_version_is_read_as_the_event_of_today() {
    let expected = expected();
    let samples = samples();
    assert!(samples.keys().eq(expected.keys()), "every file is expected, and every expected one is there");
    for (file, Sample { headers, value, .. }) in &samples {
        let version = headers.get("ce_schemaversion").map_or(1, |version| version.parse().unwrap());
        let read = InvoiceIssued::read(&serde_json::to_vec(value).unwrap(), version);
        assert_eq!(read.unwrap_or_else(|fault| panic!("{file}: {fault}")), expected[&**file], "{file}");
        let name = headers["ce_type"].as_str();
        assert!(name == InvoiceIssued::NAME || InvoiceIssued::ALSO.contains(&name), "{file} is called {name}");
    }
}

/// Publishes the handled event again, as it was decoded.
#[handler]
async fn copy(On(issued): On<InvoiceIssued>) -> Copied {
    Copied { order_id: issued.order_id, issued }
}

#[event(topic = "copies", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Copied {
    order_id: u64,
    issued: InvoiceIssued,
}

#[tokio::test]
async fn every_record_is_delivered() {
    let pump = Pump::of([Service::new("archive", Database::memory()).handlers(handlers![copy])]).start().await;
    let samples = samples();
    let files: Vec<_> = samples.keys().cloned().collect();
    for (number, (_, Sample { headers, key, value })) in samples.into_iter().enumerate() {
        let mut headers: Vec<_> = headers.into_iter().map(|(name, value)| Header::text(name, value)).collect();
        headers.push(Header::text("ce_id", format!("sample-{number}")));
        let value = Some(serde_json::to_vec(&value).unwrap().into());
        let timestamp = LogTime::from_millis(1_767_225_600_000);
        pump.publish_record(Record { topic: "invoices".to_owned(), key: Some(key.into()), value, headers, timestamp }).await;
    }
    pump.run_until_quiet().await;
    let expected = expected();
    let copied: Vec<_> = pump.published::<Copied>().await.into_iter().map(|copied| copied.issued).collect();
    assert_eq!(copied, files.iter().map(|file| expected[&**file].clone()).collect::<Vec<_>>());
    pump.stop().await;
}
