//! Where the spans of an app are sent and which of them, by settings and by the environment variables that OpenTelemetry specifies.

use std::{fmt, sync::Arc, time::Duration};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::Sampler, trace::SpanExporter};
use serde::{Deserialize, Serialize};

use super::{
    Spans,
    export::{Exporter, Pipeline, Sampling},
};
use crate::runtime::metrics::Metrics;

/// The most spans that wait for export, unless `OTEL_BSP_MAX_QUEUE_SIZE` is set.
const QUEUE: usize = 2_048;

/// Where spans are sent and which of them. Values that are not set come from the environment: `OTEL_EXPORTER_OTLP_ENDPOINT`,
/// `OTEL_EXPORTER_OTLP_PROTOCOL`, their `_TRACES_` forms, `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TraceSettings {
    /// The address of the collector: `grpc://host:4317` or `http://host:4318`.
    pub endpoint: Option<String>,
    /// The protocol. If it is not set: gRPC for the scheme `grpc://`, otherwise the protocol from the environment, otherwise gRPC for the
    /// port 4317 and HTTP for any other.
    pub protocol: Option<TraceProtocol>,
    /// The ratio of the traces that begin here which are recorded, from 0 to 1. A trace that comes from outside is recorded if its caller
    /// records it.
    pub ratio: Option<f64>,
}

impl TraceSettings {
    /// Sends spans to `endpoint`.
    pub fn to(endpoint: impl Into<String>) -> Self {
        Self { endpoint: Some(endpoint.into()), ..Self::default() }
    }

    /// Sets the ratio of the traces that begin here which are recorded, from 0 to 1.
    #[must_use]
    pub fn ratio(self, ratio: f64) -> Self {
        Self { ratio: Some(ratio), ..self }
    }
}

/// The protocol by which spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceProtocol {
    /// OTLP over gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP over HTTP, as protobuf.
    #[serde(rename = "http/protobuf")]
    Http,
}

/// The error that settings of traces cannot be used.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("traces: {0}")]
pub struct TracesError(String);

/// The same text as `Display`, because a `main` that returns the error prints it by `Debug`.
impl std::fmt::Debug for TracesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Where the spans of an app are sent. Give it to [`App::traces`](crate::runtime::App::traces).
///
/// Each service of the app is a service of OpenTelemetry, with its own name, queue and connection.
///
/// ```
/// # use saga_core::runtime::{TraceSettings, Traces};
/// let traces = Traces::otlp(&TraceSettings::to("grpc://localhost:4317").ratio(0.1)).unwrap();
/// assert!(traces.is_on());
/// ```
#[derive(Clone)]
pub struct Traces(Option<Way>);

#[derive(Clone)]
struct Way {
    make: Arc<dyn Fn() -> Result<Box<dyn Exporter>, String> + Send + Sync>,
    sampling: Sampling,
    queue: usize,
    /// How often the queue is exported; `None` for the value from the environment.
    every: Option<Duration>,
    shown: String,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.0.as_ref().map(|way| &way.shown)).finish()
    }
}

impl Traces {
    /// Exports nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Exports by OTLP, as `settings` and the environment define; settings take precedence. If neither names a collector, nothing is
    /// exported, except that `OTEL_TRACES_EXPORTER=otlp` means a collector on localhost. Nothing is exported either if `OTEL_SDK_DISABLED`
    /// is `true` or `OTEL_TRACES_EXPORTER` is `none`.
    ///
    /// # Errors
    /// When a setting or a variable has an invalid value.
    pub fn otlp(settings: &TraceSettings) -> Result<Self, TracesError> {
        Self::by(settings, &|name| std::env::var(name).ok().filter(|text| !text.is_empty())).map_err(TracesError)
    }

    fn by(settings: &TraceSettings, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let exporter = env("OTEL_TRACES_EXPORTER");
        let disabled = env("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if disabled || exporter.as_deref() == Some("none") {
            return Ok(Self::off());
        }
        if let Some(other) = exporter.as_deref().filter(|name| *name != "otlp" && settings.endpoint.is_none()) {
            return Err(format!("OTEL_TRACES_EXPORTER is `{other}`; this program supports `otlp` and `none`"));
        }
        let spoken = env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| env("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let Some((endpoint, path)) = endpoint(settings, env).or_else(|| {
            let port = if spoken.as_deref() == Some("grpc") { 4317 } else { 4318 };
            exporter.is_some().then(|| (format!("http://localhost:{port}"), Path::Added))
        }) else {
            return Ok(Self::off());
        };
        let address = Address::of(&endpoint)?;
        let protocol = match (settings.protocol, spoken.as_deref()) {
            (Some(protocol), _) => protocol,
            _ if address.grpc => TraceProtocol::Grpc,
            (None, Some("grpc")) => TraceProtocol::Grpc,
            (None, Some("http/protobuf")) => TraceProtocol::Http,
            (None, Some(other)) => {
                return Err(format!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL is `{other}`; this program supports `grpc` and `http/protobuf`"
                ));
            }
            (None, None) if address.port == Some(4317) => TraceProtocol::Grpc,
            (None, None) => TraceProtocol::Http,
        };
        if protocol == TraceProtocol::Http && address.url.starts_with("https://") {
            return Err(format!("`{endpoint}`: https is supported over gRPC only; set the protocol to `grpc`, or use http"));
        }
        let url = match (protocol, path) {
            (TraceProtocol::Grpc, _) => address.url,
            (TraceProtocol::Http, Path::AsItIs) => endpoint,
            (TraceProtocol::Http, Path::Added) => format!("{}/v1/traces", address.url),
            (TraceProtocol::Http, Path::AddedToNone) => address.with_path("/v1/traces"),
        };
        let sampling = sampling(settings.ratio, env)?;
        let queue = env("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|text| text.parse().ok()).filter(|queue| *queue > 0).unwrap_or(QUEUE);
        let shown = url.clone();
        let make = Arc::new(move || {
            let builder = opentelemetry_otlp::SpanExporter::builder();
            let exporter = match protocol {
                TraceProtocol::Grpc => builder.with_tonic().with_endpoint(&url).build(),
                TraceProtocol::Http => builder.with_http().with_protocol(Protocol::HttpBinary).with_endpoint(&url).build(),
            };
            exporter.map(|exporter| Box::new(exporter) as Box<dyn Exporter>).map_err(|error| error.to_string())
        });
        Ok(Self(Some(Way { make, sampling, queue, every: None, shown })))
    }

    /// Exports to an exporter of your own. `make` is called once for each service. All traces that begin here are recorded.
    ///
    /// When the service stops, the exporter gets the spans in the queue. Then its `force_flush` is called, then its `shutdown_with_timeout`
    /// with the rest of the stop's time, and then it is dropped.
    pub fn to<E: SpanExporter + 'static>(make: impl Fn() -> E + Send + Sync + 'static) -> Self {
        let sampling = Sampling { root: Sampler::AlwaysOn, follows_parent: true };
        let make = Arc::new(move || Ok(Box::new(make()) as Box<dyn Exporter>));
        Self(Some(Way { make, sampling, queue: QUEUE, every: None, shown: "an exporter of the app".to_owned() }))
    }

    /// Sets the ratio of the traces that begin here which are recorded, from 0 to 1.
    #[must_use]
    pub fn ratio(mut self, ratio: f64) -> Self {
        if let Some(way) = &mut self.0 {
            way.sampling = Sampling { root: Sampler::TraceIdRatioBased(ratio), follows_parent: true };
        }
        self
    }

    /// Sets the most spans that wait for export. Further spans are dropped and counted.
    #[must_use]
    pub fn queue(mut self, spans: usize) -> Self {
        if let Some(way) = &mut self.0 {
            way.queue = spans.max(1);
        }
        self
    }

    /// Sets how often the queue is exported.
    #[must_use]
    pub fn every(mut self, period: Duration) -> Self {
        if let Some(way) = &mut self.0 {
            way.every = Some(period);
        }
        self
    }

    /// Whether spans are exported.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Opens the export of the spans of `service`, a service of `app`.
    pub(crate) fn open(&self, app: &str, service: &str, instance: String, metrics: &Metrics) -> Result<Spans, String> {
        let Some(way) = &self.0 else { return Ok(Spans::default()) };
        let exporter =
            (way.make)().map_err(|error| format!("the exporter of traces to {} cannot be made: {error}", way.shown))?;
        let resource = Resource::builder()
            .with_service_name(service.to_owned())
            .with_attributes([KeyValue::new("service.namespace", app.to_owned()), KeyValue::new("service.instance.id", instance)])
            .build();
        Ok(Spans::to(Some(Pipeline::new(exporter, &resource, way.sampling.clone(), (way.queue, way.every), metrics))))
    }
}

/// How the path of the collector's address is completed for OTLP over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    AsItIs,
    /// Append `/v1/traces`.
    Added,
    /// Append `/v1/traces` if the address has no path.
    AddedToNone,
}

/// Returns the address of the collector and how its path is completed, which the specification defines for each variable.
fn endpoint(settings: &TraceSettings, env: &dyn Fn(&str) -> Option<String>) -> Option<(String, Path)> {
    let set = settings.endpoint.clone().map(|endpoint| (endpoint, Path::AddedToNone));
    let own = || env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(|endpoint| (endpoint, Path::AsItIs));
    let any = || env("OTEL_EXPORTER_OTLP_ENDPOINT").map(|endpoint| (endpoint, Path::Added));
    set.or_else(own).or_else(any)
}

/// Returns the sampling by `ratio` or, without it, by `OTEL_TRACES_SAMPLER`.
fn sampling(ratio: Option<f64>, env: &dyn Fn(&str) -> Option<String>) -> Result<Sampling, String> {
    let within = |ratio: f64| (0.0..=1.0).contains(&ratio);
    if let Some(ratio) = ratio {
        return match within(ratio) {
            true => Ok(Sampling { root: Sampler::TraceIdRatioBased(ratio), follows_parent: true }),
            false => Err(format!("the ratio of traces that are recorded is {ratio}; it is from 0 to 1")),
        };
    }
    let argument = || match env("OTEL_TRACES_SAMPLER_ARG") {
        None => Ok(1.0),
        Some(text) => text.parse().ok().filter(|ratio| within(*ratio)).ok_or_else(|| {
            format!("OTEL_TRACES_SAMPLER_ARG is `{text}`; it is the part of the traces that is recorded, from 0 to 1")
        }),
    };
    let name = env("OTEL_TRACES_SAMPLER");
    let (root, follows_parent) = match name.as_deref().unwrap_or("parentbased_always_on") {
        "always_on" => (Sampler::AlwaysOn, false),
        "always_off" => (Sampler::AlwaysOff, false),
        "traceidratio" => (Sampler::TraceIdRatioBased(argument()?), false),
        "parentbased_always_on" => (Sampler::AlwaysOn, true),
        "parentbased_always_off" => (Sampler::AlwaysOff, true),
        "parentbased_traceidratio" => (Sampler::TraceIdRatioBased(argument()?), true),
        other => {
            return Err(format!(
                "OTEL_TRACES_SAMPLER is `{other}`; this program supports `always_on`, `always_off`, `traceidratio`, and each of them after \
                 `parentbased_`"
            ));
        }
    };
    Ok(Sampling { root, follows_parent })
}

/// The address of a collector.
struct Address {
    url: String,
    grpc: bool,
    port: Option<u16>,
}

impl Address {
    fn of(text: &str) -> Result<Self, String> {
        let wrong =
            |what: &str| format!("`{text}` is no address of a collector: {what}; write `grpc://host:4317` or `http://host:4318`");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (scheme, grpc) = match scheme {
            "grpc" => ("http", true),
            "http" | "https" => (scheme, false),
            other => return Err(wrong(&format!("the scheme `{other}` is unknown"))),
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong("it has no host"));
        }
        if host.contains('@') {
            return Err("the address of a collector has no user and password: give `OTEL_EXPORTER_OTLP_HEADERS`".to_owned());
        }
        let port = match host.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => {
                Some(port.parse().map_err(|_| wrong("its port is no number up to 65535"))?)
            }
            _ => None,
        };
        if scheme == "https" && !cfg!(feature = "tls") {
            return Err(wrong("this program is built without the feature `tls`"));
        }
        Ok(Self { url: format!("{scheme}://{}", rest.trim_end_matches('/')), grpc, port })
    }

    /// Returns the URL with `path`, unless it has a path already.
    fn with_path(&self, path: &str) -> String {
        let bare = self.url.split_once("://").is_none_or(|(_, rest)| !rest.contains('/'));
        if bare { format!("{}{path}", self.url) } else { self.url.clone() }
    }
}

#[cfg(test)]
mod tests;
