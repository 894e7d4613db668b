//! The routes that serve the description and the page that shows it.

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;

use super::Description;
use crate::{Path, Problem, schema::NotFound};

/// The paths of the routes.
pub(crate) const PATHS: [&str; 3] = ["/openapi.json", "/docs", "/docs/{file}"];

const PAGE: &str = include_str!("docs.html");
const START: &str = include_str!("start.js");

/// Allows nothing from other hosts, and nothing that the page does not need. Swagger UI sets inline styles.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Returns the routes `/openapi.json`, the description, and `/docs`, a page that shows it and can call the routes. The page uses Swagger UI
/// and loads nothing from other hosts.
///
/// The page loads `openapi.json` by a relative path, so both can be nested under any prefix.
pub fn openapi_routes(description: &Description) -> Router {
    let json = Bytes::from(description.as_json().to_string());
    Router::new()
        .route("/openapi.json", get(document))
        .route("/docs", get(docs))
        .route("/docs/{file}", get(asset))
        .with_state(json)
}

/// The description of the routes.
#[utoipa::path(
    get, path = "/openapi.json", tag = "description", operation_id = "openapi",
    responses((
        status = 200, description = "An OpenAPI 3.1 document.", body = Object,
        headers(("Cache-Control" = String, description = "`no-cache`")),
    )),
)]
async fn document(State(json): State<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], json).into_response()
}

/// A page that shows the description of the routes.
///
/// The page loads nothing from other hosts.
#[utoipa::path(
    get, path = "/docs", tag = "description", operation_id = "docs",
    responses((
        status = 200, description = "The page.", body = String, content_type = "text/html",
        headers(
            ("Cache-Control" = String, description = "`no-cache`"),
            ("Content-Security-Policy" = String, description = "Allows nothing from other hosts."),
        ),
    )),
)]
async fn docs() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, PAGE).into_response()
}

/// A file of the page.
#[utoipa::path(
    get, path = "/docs/{file}", tag = "description", operation_id = "docsFile",
    params(("file" = String, Path, description = "Its name: `start.js`, `swagger-ui-bundle.js` or `swagger-ui.css`.")),
    responses(
        (
            status = 200, description = "The file.", content((String = "text/javascript"), (String = "text/css")),
            headers(("Cache-Control" = String, description = "How long the file can be cached.")),
        ),
        NotFound,
    ),
)]
async fn asset(Path(file): Path<String>) -> Result<Response, Problem> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let (kind, bytes) = match file.as_str() {
        "start.js" => (SCRIPT, Bytes::from_static(START.as_bytes())),
        "swagger-ui-bundle.js" => (SCRIPT, swagger_ui(&file)?),
        "swagger-ui.css" => ("text/css; charset=utf-8", swagger_ui(&file)?),
        _ => return Err(Problem::not_found("the page of the description has no such file")),
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=3600")], bytes).into_response())
}

fn swagger_ui(file: &str) -> Result<Bytes, Problem> {
    let found = utoipa_swagger_ui::serve(file, Default::default()).map_err(Problem::internal)?;
    let found = found.ok_or_else(|| Problem::internal(format!("Swagger UI has no file {file}")))?;
    Ok(Bytes::from(found.bytes.into_owned()))
}

/// The description of the routes.
#[derive(utoipa::OpenApi)]
#[openapi(paths(document, docs, asset), tags((name = "description", description = "This description.")))]
pub(super) struct Described;
