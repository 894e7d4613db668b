//! A receiver of OTLP over gRPC and HTTP, which keeps the spans in memory.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use tokio::{net::TcpListener, task::JoinSet};
use tonic::transport::server::TcpIncoming;

use super::{Spans, Told};

/// A collector of traces that listens on this machine until it is dropped.
pub struct Receiver {
    kept: Kept,
    grpc: SocketAddr,
    http: SocketAddr,
    _serving: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Told>>>);

impl Receiver {
    /// Listens on two free ports.
    ///
    /// # Panics
    /// Panics when no port is free.
    pub async fn listen() -> Self {
        Self::listen_on(0).await
    }

    /// Listens for HTTP on `port`, and for gRPC on a free port.
    ///
    /// # Panics
    /// Panics when the port is in use.
    pub async fn listen_on(port: u16) -> Self {
        let kept = Kept::default();
        let bind = async |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a port");
        let (grpc, http) = (bind(0).await, bind(port).await);
        let addresses = (grpc.local_addr().expect("an address"), http.local_addr().expect("an address"));
        let mut serving = JoinSet::new();
        let service = TraceServiceServer::new(kept.clone());
        serving.spawn(async move {
            let incoming = TcpIncoming::from(grpc);
            let _ = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        let router = Router::new().route("/v1/traces", post(over_http)).with_state(kept.clone());
        serving.spawn(async move {
            let _ = axum::serve(http, router).await;
        });
        Self { kept, grpc: addresses.0, http: addresses.1, _serving: serving }
    }

    /// Returns the gRPC address.
    pub fn grpc(&self) -> String {
        format!("grpc://{}", self.grpc)
    }

    /// Returns the HTTP address.
    pub fn http(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Returns the spans so far.
    pub fn spans(&self) -> Spans {
        Spans(self.kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Kept {
    fn take(&self, request: ExportTraceServiceRequest) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            let service = text_of(&resource.attributes, "service.name");
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| told(&service, span)));
        }
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.take(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn over_http(State(kept): State<Kept>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    kept.take(request);
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn shown(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

fn text_of(attributes: &[KeyValue], name: &str) -> String {
    shown(attributes.iter().find(|said| said.key == name).and_then(|said| said.value.as_ref()))
}

fn told(service: &str, span: Span) -> Told {
    let kind = match SpanKind::try_from(span.kind) {
        Ok(SpanKind::Client) => "client",
        Ok(SpanKind::Server) => "server",
        Ok(SpanKind::Producer) => "producer",
        Ok(SpanKind::Consumer) => "consumer",
        _ => "internal",
    };
    let failed = |status: &opentelemetry_proto::tonic::trace::v1::Status| status.code == SpanStatus::Error as i32;
    Told {
        service: service.to_owned(),
        trace: hexadecimal(&span.trace_id),
        span: hexadecimal(&span.span_id),
        parent: (!span.parent_span_id.is_empty()).then(|| hexadecimal(&span.parent_span_id)),
        name: span.name,
        kind: kind.to_owned(),
        began: span.start_time_unix_nano,
        ended: span.end_time_unix_nano,
        attributes: span.attributes.iter().map(|said| (said.key.clone(), shown(said.value.as_ref()))).collect(),
        links: span.links.iter().map(|link| (hexadecimal(&link.trace_id), hexadecimal(&link.span_id))).collect(),
        error: span.status.filter(failed).map(|status| status.message),
    }
}
