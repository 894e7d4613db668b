//! The complete routers of a service.

use axum::Router;
use saga_core::runtime::ServiceHandle;

use super::{
    Routes, dead_letters, health,
    metrics::{METRICS, scraped},
    operators::{Access, surface},
    operators_only::only,
    overlap, replays, sagas,
};
#[cfg(doc)]
use super::{dead_letter_routes, metrics_routes, replay_routes, saga_routes};

/// Returns the routes that only the [operators](crate::Operators) of a service can use: [`metrics_routes`],
/// [`dead_letter_routes`], [`saga_routes`] and [`replay_routes`].
///
/// A listener for operators serves them without further code. An axum app of your own mounts them, with a layer that identifies the
/// operator by an [`Operator`](crate::Operator). Mounted this way they are never open to this machine, whatever is configured for
/// listeners: without a token or a layer they answer 401.
///
/// ```
/// # use axum::{Router, extract::Request, middleware::{self, Next}, response::Response};
/// # use saga_core::runtime::ServiceHandle;
/// # use saga_http as http;
/// # async fn authenticate(request: Request, next: Next) -> Response { next.run(request).await }
/// fn app(service: &ServiceHandle) -> Router {
///     let operated = http::operator_routes(service).layer(middleware::from_fn(authenticate));
///     Router::new().merge(http::health_routes(service)).nest("/operators", operated)
/// }
/// ```
pub fn operator_routes(service: &ServiceHandle) -> Router {
    operated(service, &surface(service).mounted, true)
}

/// Returns the [`operator_routes`] of one of several services, with its health.
pub(crate) fn mounted_with_health(service: &ServiceHandle) -> Router {
    operator_routes(service).merge(only(service, &surface(service).mounted, health::shown_to_everybody(service)))
}

fn operated(service: &ServiceHandle, access: &Access, with_metrics: bool) -> Router {
    let acting = dead_letters::routes(service.clone()).merge(sagas::routes(service.clone()));
    let acting = acting.merge(replays::routes(service.clone()));
    only(service, access, if with_metrics { acting.merge(scraped(service)) } else { acting })
}

/// Returns what the listener of a service serves: its own routes and those of the framework, and all of them also under `also_under`.
///
/// # Errors
/// Returns an error if both have the same path, or if the routes cannot be described.
pub(crate) async fn served(own: Routes, service: &ServiceHandle, also_under: Option<&str>) -> Result<Router, Unserved> {
    let surface = surface(service);
    let mut shown = health::shown_to_operators(service, &surface.routes);
    if surface.open_metrics {
        shown = shown.merge(scraped(service));
    }
    if surface.beside {
        shown = shown.merge(operated(service, &surface.routes, !surface.open_metrics));
    }
    let mut paths = [&health::PATHS[..]].concat();
    if surface.open_metrics || surface.beside && surface.routes.exists() {
        paths.push(METRICS);
    }
    if surface.beside && surface.routes.exists() {
        paths.extend(dead_letters::PATHS.iter().chain(&sagas::PATHS).chain(&replays::PATHS));
    }
    #[cfg(feature = "openapi")]
    {
        paths.extend(super::openapi::PATHS);
        let mut description = super::openapi::Description::of(service, own.description)?;
        if let Some(prefix) = also_under {
            description = description.also_under(prefix);
        }
        shown = shown.merge(super::openapi::openapi_routes(&description));
    }
    let problems = overlap::problems(&own.router, &paths, surface.prefix.as_deref(), also_under).await;
    if !problems.is_empty() {
        return Err(Unserved::Overlapping(problems));
    }
    let all = own.router.merge(match &surface.prefix {
        Some(prefix) => Router::new().nest(prefix, shown),
        None => shown,
    });
    match also_under {
        Some(prefix) => overlap::nested(all, prefix).map_err(|problem| Unserved::Overlapping(vec![problem])),
        None => Ok(all),
    }
}

/// Returns what a listener for operators serves for a service, under `place`.
///
/// # Errors
/// Returns an error if the routes cannot be described.
pub(crate) fn served_to_operators(service: &ServiceHandle, place: &str) -> Result<Router, Unserved> {
    let shown = health::shown_to_everybody(service).merge(operated(service, &surface(service).operators, true));
    #[cfg(feature = "openapi")]
    let shown = shown.merge(super::openapi::openapi_routes(&super::openapi::Description::for_operators(service, place)?));
    #[cfg(not(feature = "openapi"))]
    let _ = place;
    Ok(shown)
}

/// The reason why routes cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    /// Paths that both the service and the framework use.
    #[error("{}", .0.join("\n"))]
    Overlapping(Vec<String>),
    #[cfg(feature = "openapi")]
    #[error(transparent)]
    Undescribed(#[from] super::openapi::Undescribed),
}

impl Unserved {
    /// Returns each problem separately.
    pub(crate) fn problems(self) -> Vec<String> {
        match self {
            Self::Overlapping(problems) => problems,
            #[cfg(feature = "openapi")]
            Self::Undescribed(undescribed) => vec![undescribed.to_string()],
        }
    }
}
