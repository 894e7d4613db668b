//! The registry at the URL in SAGAS_TEST_REGISTRY, or a stub of the same API.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};

type Kept = Arc<Mutex<BTreeMap<u32, (String, Value)>>>;
type Answer = Result<Json<Value>, (StatusCode, Json<Value>)>;

fn missing(code: u32) -> (StatusCode, Json<Value>) {
    (StatusCode::NOT_FOUND, Json(json!({"error_code": code, "message": "not found"})))
}

async fn register(State(kept): State<Kept>, Path(subject): Path<String>, Json(asked): Json<Value>) -> Json<Value> {
    let mut kept = kept.lock().unwrap();
    let next = kept.len() as u32 + 101;
    let known = kept.iter().find(|(_, (of, schema))| *of == subject && *schema == asked).map(|(id, _)| *id);
    let id = known.unwrap_or(next);
    kept.insert(id, (subject, asked));
    Json(json!({ "id": id }))
}

async fn look_up(State(kept): State<Kept>, Path(subject): Path<String>, Json(asked): Json<Value>) -> Answer {
    let kept = kept.lock().unwrap();
    let found = kept.iter().find(|(_, (of, schema))| *of == subject && *schema == asked);
    found.map(|(id, _)| Json(json!({"id": id, "subject": subject, "version": 1}))).ok_or_else(|| missing(40403))
}

async fn by_id(State(kept): State<Kept>, Path(id): Path<u32>) -> Answer {
    let kept = kept.lock().unwrap();
    let (_, asked) = kept.get(&id).ok_or_else(|| missing(40403))?;
    // Like the registries: the type is omitted for Avro.
    Ok(Json(match asked["schemaType"].as_str() {
        Some("AVRO") => json!({"schema": asked["schema"]}),
        _ => asked.clone(),
    }))
}

/// Returns the URL of the registry.
pub async fn registry() -> String {
    if let Ok(url) = std::env::var("SAGAS_TEST_REGISTRY") {
        return url;
    }
    let router = Router::new()
        .route("/subjects/{subject}/versions", post(register))
        .route("/subjects/{subject}", post(look_up))
        .route("/schemas/ids/{id}", get(by_id))
        .with_state(Kept::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}
