//! The routes of a service, described by OpenAPI 3.1: `/openapi.json`, and `/docs` to read it.
//!
//! The description is made from the code, by [`utoipa`]: a handler says beside its fn what it takes and answers, its types derive
//! their schemas, and an `OpenApiRouter` (of the crate `utoipa-axum`) makes routes of such handlers, so that a route is served and
//! described or neither. What every route has in common is added by [`Description::of`] and need not be said:
//!
//! | what | where |
//! |---|---|
//! | `X-Correlation-Id`, taken and returned | everywhere |
//! | 500 `INTERNAL`; 503 `UNAVAILABLE` with `Retry-After` | everywhere |
//! | 400 `BAD_REQUEST`, 408 `REQUEST_TIMEOUT`, 413 `PAYLOAD_TOO_LARGE` | everywhere: any request can have a body |
//! | 400 `VALIDATION_ERROR` | where there are parameters |
//! | 400 `MALFORMED_JSON`, 415 `UNSUPPORTED_MEDIA_TYPE` | where a JSON body is taken |
//! | `X-Total-Count`, `Link` | lists with a [`Page`](super::Page), which is named in `params` |
//!
//! Routes that are for operators are put through [`operators_only`](super::operators_only), which adds 401 `UNAUTHORIZED`, the token that they
//! send, 403 `FORBIDDEN` and 421 `MISDIRECTED_REQUEST`, as far as they apply to the address that is listened on. What else is answered is said:
//! [`NotFound`], [`Conflict`], or [`problem`] for a code of one's own.
//!
//! ```
//! use saga_core::{http::{Json, Listed, Page, Path, Problem, openapi::NotFound}, runtime::Service, store::Database};
//! use utoipa_axum::{router::OpenApiRouter, routes};
//!
//! #[derive(serde::Serialize, utoipa::ToSchema)]
//! struct Tea {
//!     /// What it is called.
//!     name: String,
//! }
//!
//! /// Teas, those that came last first.
//! #[utoipa::path(get, path = "/teas", params(Page), responses((status = 200, description = "One page.", body = [Tea])))]
//! async fn teas(page: Page) -> Listed<Tea> {
//!     page.list(vec![Tea { name: "assam".to_owned() }], 1)
//! }
//!
//! /// A tea.
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
//! Whoever has an axum app already makes a [`Description`] and mounts [`openapi_routes`].

mod answers;
mod complete;
mod operated;
mod page;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::{
    OpenApi as _,
    openapi::{Info, OpenApi, Server, Tag},
};
use utoipa_axum::router::OpenApiRouter;

use crate::runtime::{Operators, ServiceHandle};

pub use answers::{Conflict, NotFound, problem};
pub use page::openapi_routes;

pub(crate) use operated::operated;
pub(crate) use vocabulary::{base64, base64_or_null, page, words};

/// The description of a service: its own routes, those of the framework, and what all of them have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Description(Value);

/// Why routes cannot be described: everything that is wrong, one a line.
#[derive(Debug, thiserror::Error)]
#[error("the routes cannot be described:\n{}", .problems.join("\n"))]
#[non_exhaustive]
pub struct Undescribed {
    /// What is wrong.
    pub problems: Vec<String>,
}

impl Description {
    /// The description of `service`, whose own routes are described by `own`, and which serves
    /// [`service_routes`](super::service_routes) and [`openapi_routes`] beside them. What is for operators is described as they are let
    /// in: with the token that they send, or not at all. Without a title of its own it has the name of the service.
    ///
    /// # Errors
    /// When two operations or two schemas have the same name, or a schema is named and not there.
    pub fn of(service: &ServiceHandle, own: OpenApi) -> Result<Self, Undescribed> {
        let mut whole = own;
        // What a router says that was told nothing.
        let untold = |info: &Info| info.title.is_empty() || *info == OpenApiRouter::<()>::new().into_openapi().info;
        if untold(&whole.info) {
            whole.info = Info::new(service.name(), "1");
        }
        name_tags(&mut whole);
        let framework = framework(service.operators());
        let mut problems = complete::two_meanings(&whole, &framework);
        whole.merge(framework);
        let described = complete::complete(whole);
        problems.extend(complete::problems(&described));
        if problems.is_empty() { Ok(Self(described)) } else { Err(Undescribed { problems }) }
    }

    /// The same, of routes that are served under `prefix` too, as [`Service::also_under`](crate::runtime::Service::also_under) does.
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

    /// The description as JSON.
    pub fn as_json(&self) -> &Value {
        &self.0
    }
}

/// Lists the tags of the operations that `described` has, so that they come before those of the framework.
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

/// The description of what every service shows about itself.
fn framework(operators: &Operators) -> OpenApi {
    let mut whole = super::routes::Described::openapi();
    whole.merge(page::Described::openapi());
    for part in
        [super::dead_letters::Described::openapi(), super::sagas::Described::openapi(), super::replays::Described::openapi()]
    {
        whole.merge(operated(operators, part));
    }
    whole
}
