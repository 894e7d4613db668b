//! What a service serves of its own over HTTP.

use axum::Router;

/// What [`Service::routes`](super::Service::routes) takes: a [`Router`]; or, with the feature `openapi`, an
/// [`OpenApiRouter`](utoipa_axum::router::OpenApiRouter), whose routes are described where they are made, or a router with a
/// description from elsewhere.
#[derive(Default)]
pub struct Routes {
    pub(crate) router: Router,
    #[cfg(feature = "openapi")]
    pub(crate) description: utoipa::openapi::OpenApi,
}

/// Routes that nobody describes.
impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self { router, ..Self::default() }
    }
}

#[cfg(feature = "openapi")]
impl From<utoipa_axum::router::OpenApiRouter> for Routes {
    fn from(described: utoipa_axum::router::OpenApiRouter) -> Self {
        described.split_for_parts().into()
    }
}

#[cfg(feature = "openapi")]
impl From<(Router, utoipa::openapi::OpenApi)> for Routes {
    fn from((router, description): (Router, utoipa::openapi::OpenApi)) -> Self {
        Self { router, description }
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("router", &self.router).finish_non_exhaustive()
    }
}
