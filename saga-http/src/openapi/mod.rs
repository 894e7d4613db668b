//! The description of a service's routes in OpenAPI 3.1: `/openapi.json`, and `/docs` to read it.
//!
//! The description is generated from the code with [`utoipa`]. The attributes of a handler define its parameters and responses, and its
//! types derive their schemas. An `OpenApiRouter` (of the crate `utoipa-axum`) creates routes from such handlers, so that a route is both
//! served and described. [`Description::of`] adds what all routes have in common:
//!
//! | what | where |
//! |---|---|
//! | `X-Correlation-Id`, in the request and the response | everywhere |
//! | 500 `INTERNAL`; 503 `UNAVAILABLE` with `Retry-After` | everywhere |
//! | 400 `BAD_REQUEST`, 408 `REQUEST_TIMEOUT`, 413 `PAYLOAD_TOO_LARGE` | everywhere, because any request can have a body |
//! | 400 `VALIDATION_ERROR` | operations with parameters |
//! | 400 `MALFORMED_JSON`, 415 `UNSUPPORTED_MEDIA_TYPE` | operations with a JSON body |
//! | `X-Total-Count`, `Link` | lists with a [`Page`](super::Page) in `params` |
//!
//! [`operators_only`](super::operators_only) adds the token and 401 `UNAUTHORIZED`, 403 `FORBIDDEN` and 421 `MISDIRECTED_REQUEST` to the
//! routes for operators, as far as they apply to the address of the listener. Declare other responses with [`NotFound`], [`Conflict`], or
//! [`problem`] for your own codes.
//!
//! ```
//! use saga_core::{runtime::Service, store::Database};
//! use saga_http::{Json, Listed, Page, Path, Problem, ServiceHttp, openapi::NotFound};
//! use utoipa_axum::{router::OpenApiRouter, routes};
//!
//! #[derive(serde::Serialize, utoipa::ToSchema)]
//! struct Tea {
//!     /// The name of the tea.
//!     name: String,
//! }
//!
//! /// Lists teas, newest first.
//! #[utoipa::path(get, path = "/teas", params(Page), responses((status = 200, description = "One page.", body = [Tea])))]
//! async fn teas(page: Page) -> Listed<Tea> {
//!     page.list(vec![Tea { name: "assam".to_owned() }], 1)
//! }
//!
//! /// Shows a tea.
//! #[utoipa::path(
//!     get, path = "/teas/{name}",
//!     params(("name" = String, Path)),
//!     responses((status = 200, description = "It.", body = Tea), NotFound),
//! )]
//! async fn tea(Path(name): Path<String>) -> Result<Json<Tea>, Problem> {
//!     if name == "assam" { Ok(Json(Tea { name })) } else { Err(Problem::not_found("there is no such tea")) }
//! }
//!
//! fn service(db: Database) -> Service {
//!     Service::new("teas", db).routes(|_| OpenApiRouter::default().routes(routes!(teas)).routes(routes!(tea)))
//! }
//! ```
//!
//! In your own axum app, create a [`Description`] and mount [`openapi_routes`].

mod complete;
mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use saga_core::runtime::ServiceHandle;
use serde_json::Value;
use utoipa::{
    OpenApi as _,
    openapi::{Info, OpenApi, OpenApiBuilder, Server, Tag},
};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    metrics::DescribedMetrics,
    operators::{Access, surface},
    schema::operated,
};

pub use crate::schema::{Conflict, NotFound, problem};
pub(super) use page::PATHS;
pub use page::openapi_routes;

/// The description of a service: its own routes, those of the framework, and what all of them have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Description(Value);

/// The error for routes that cannot be described. It has all problems, one per line.
#[derive(Debug, thiserror::Error)]
#[error("the routes cannot be described:\n{}", .problems.join("\n"))]
#[non_exhaustive]
pub struct Undescribed {
    /// The problems.
    pub problems: Vec<String>,
}

impl Description {
    /// Describes what the listener of `service` serves: the service's own routes, which are described by `own`, and health and
    /// [`openapi_routes`] under the service's [prefix](crate::ServiceHttp::prefix). Routes for operators are included if they are
    /// served there, with the credentials that they require. The title is the name of the service, unless `own` has one.
    ///
    /// # Errors
    /// Returns an error if two operations have the same name, if a schema has the name of one of the framework's and another content, or if
    /// a schema that is referred to is missing. Two schemas of `own` with the same name cannot be detected: utoipa keeps the last one.
    pub fn of(service: &ServiceHandle, own: OpenApi) -> Result<Self, Undescribed> {
        let surface = surface(service);
        let metrics = match (surface.open_metrics, surface.beside) {
            (true, _) => Some(DescribedMetrics::openapi()),
            (false, true) => Some(operated(&surface.routes, DescribedMetrics::openapi())),
            (false, false) => None,
        };
        let framework = framework(metrics, surface.beside.then_some(&surface.routes));
        let framework = match &surface.prefix {
            Some(prefix) => OpenApiBuilder::new().build().nest(prefix.as_str(), framework),
            None => framework,
        };
        Self::whole(service, own, framework)
    }

    /// Describes what `service` serves to operators on a listener of their own, under `place`.
    pub(crate) fn for_operators(service: &ServiceHandle, place: &str) -> Result<Self, Undescribed> {
        let access = &surface(service).operators;
        let metrics = operated(access, DescribedMetrics::openapi());
        let mut whole = Self::whole(service, OpenApi::default(), framework(Some(metrics), Some(access)))?;
        if !place.is_empty() {
            whole.0["servers"] = serde_json::json!([Server::new(place)]);
        }
        Ok(whole)
    }

    fn whole(service: &ServiceHandle, own: OpenApi, framework: OpenApi) -> Result<Self, Undescribed> {
        let mut whole = own;
        // The title that a router has by default.
        let untold = |info: &Info| info.title.is_empty() || *info == OpenApiRouter::<()>::new().into_openapi().info;
        if untold(&whole.info) {
            whole.info = Info::new(service.name(), "1");
        }
        name_tags(&mut whole);
        let mut problems = complete::two_meanings(&whole, &framework);
        whole.merge(framework);
        let described = complete::complete(whole);
        problems.extend(complete::problems(&described));
        if problems.is_empty() { Ok(Self(described)) } else { Err(Undescribed { problems }) }
    }

    /// Adds that the routes are served under `prefix` too, as with [`ServiceHttp::also_under`](crate::ServiceHttp::also_under).
    #[must_use]
    pub fn also_under(mut self, prefix: &str) -> Self {
        let server = |url, description: &str| {
            let mut server = Server::new(url);
            server.description = Some(description.to_owned());
            server
        };
        let servers = [server(prefix, "The full paths."), server("/", "The same paths without the prefix.")];
        self.0["servers"] = servers.iter().map(|server| serde_json::json!(server)).collect();
        self
    }

    /// Returns the description as JSON.
    pub fn as_json(&self) -> &Value {
        &self.0
    }
}

/// Lists the tags of the operations in `described`, so that they come before those of the framework.
fn name_tags(described: &mut OpenApi) {
    let items = described.paths.paths.values();
    let operations = items.flat_map(|item| [&item.get, &item.put, &item.post, &item.delete, &item.patch].into_iter().flatten());
    let used: BTreeSet<_> = operations.flat_map(|operation| operation.tags.clone().unwrap_or_default()).collect();
    let tags = described.tags.get_or_insert_default();
    for name in used {
        if !tags.iter().any(|tag| tag.name == name) {
            tags.push(Tag::new(name));
        }
    }
}

/// Describes the routes of the framework: health, `metrics`, and, with `operators`, the routes for operators.
fn framework(metrics: Option<OpenApi>, operators: Option<&Access>) -> OpenApi {
    let mut whole = super::health::Described::openapi();
    if let Some(metrics) = metrics {
        whole.merge(metrics);
    }
    whole.merge(page::Described::openapi());
    let Some(access) = operators else { return whole };
    for part in
        [super::dead_letters::Described::openapi(), super::sagas::Described::openapi(), super::replays::Described::openapi()]
    {
        whole.merge(operated(access, part));
    }
    whole
}
