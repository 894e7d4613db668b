//! An exporter that keeps its spans in memory.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use sagas::Traces;

use super::{Spans, Told};

/// The spans of an app, collected in this process.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    spans: Arc<Mutex<Vec<Told>>>,
    service: String,
}

impl Gathered {
    /// Returns the settings with which an app sends its spans here.
    pub fn traces(&self) -> Traces {
        let gathered = self.clone();
        Traces::to(move || gathered.clone())
    }

    /// Returns the spans so far. They are complete once the app has stopped.
    pub fn spans(&self) -> Spans {
        Spans(self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl SpanExporter for Gathered {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let told = batch.into_iter().map(|span| told(&self.service, span));
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.service = resource.get(&"service.name".into()).map(|name| name.to_string()).unwrap_or_default();
    }
}

fn told(service: &str, span: SpanData) -> Told {
    let nanos = |at: std::time::SystemTime| {
        u64::try_from(at.duration_since(std::time::UNIX_EPOCH).map(|since| since.as_nanos()).unwrap_or_default())
            .unwrap_or(u64::MAX)
    };
    Told {
        service: service.to_owned(),
        trace: span.span_context.trace_id().to_string(),
        span: span.span_context.span_id().to_string(),
        parent: (span.parent_span_id != SpanId::INVALID).then(|| span.parent_span_id.to_string()),
        name: span.name.into_owned(),
        kind: match span.span_kind {
            SpanKind::Client => "client",
            SpanKind::Server => "server",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
            SpanKind::Internal => "internal",
        }
        .to_owned(),
        began: nanos(span.start_time),
        ended: nanos(span.end_time),
        attributes: span.attributes.iter().map(|said| (said.key.to_string(), said.value.to_string())).collect(),
        links: span
            .links
            .iter()
            .map(|link| (link.span_context.trace_id().to_string(), link.span_context.span_id().to_string()))
            .collect(),
        error: match span.status {
            Status::Error { description } => Some(description.into_owned()),
            _ => None,
        },
    }
}
