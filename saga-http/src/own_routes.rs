//! The HTTP routes of a service itself.

use axum::Router;

/// The routes that [`ServiceHttp::routes`](crate::ServiceHttp::routes) takes.
///
/// Created from a [`Router`]. With the feature `openapi`, also from an [`OpenApiRouter`](utoipa_axum::router::OpenApiRouter), which
/// describes its routes where they are defined, or from a router and a separate description.
#[derive(Default)]
pub struct Routes {
    pub(crate) router: Router,
    #[cfg(feature = "openapi")]
    pub(crate) description: utoipa::openapi::OpenApi,
}

/// Routes without a description.
impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self {
            router,
            #[cfg(feature = "openapi")]
            description: utoipa::openapi::OpenApi::default(),
        }
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
