//! Detects paths that a service and the framework both serve.
//!
//! axum rejects such a path with a panic, and a router does not expose its paths. So the router gets a request for each path of the
//! framework, below a layer that replaces every handler and responds with the matched path.

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request},
    middleware::{self, Next},
    response::Response,
};
use tower_service::Service;

/// Returns a problem for each of `paths` that `own` has too. The framework's paths are under `prefix`, and all paths are also under
/// `also_under`.
pub(super) async fn problems(own: &Router, paths: &[&str], prefix: Option<&str>, also_under: Option<&str>) -> Vec<String> {
    let mut asked = own.clone().layer(middleware::from_fn(tell));
    let mut problems = Vec::new();
    let way_out = match prefix {
        Some(_) => "move them by another `Service::prefix(..)`",
        None => "move the framework's by `Service::prefix(\"/_sagas\")`",
    };
    for beneath in [Some(""), also_under].into_iter().flatten() {
        for path in paths {
            let path = format!("{beneath}{}{path}", prefix.unwrap_or_default());
            if let Some(matched) = matched(&mut asked, &path).await.filter(|matched| conflict(matched, &path)) {
                problems.push(format!(
                    "`{matched}` is a route of its own, given to `Service::routes(..)`, and one of the framework's (`{path}`): give \
                     yours another path, or {way_out}"
                ));
            }
        }
    }
    problems
}

/// Nests `all` under `prefix` in addition. Returns the reason if this is impossible, for example because a path exists already.
pub(super) fn nested(all: Router, prefix: &str) -> Result<Router, String> {
    // Unwind safe, because a rejected router is dropped.
    let nested = catch_unwind(AssertUnwindSafe(|| all.clone().nest(prefix, all)));
    nested.map_err(|panic| {
        let why = panic.downcast_ref::<String>().map_or("two routes have one path", String::as_str);
        format!(
            "its routes cannot be served under `{prefix}` too, as `Service::also_under(..)` requires: {why}; give those that are under \
             `{prefix}` already another path, or leave `also_under` out"
        )
    })
}

/// Returns the path of the route that handles a request for `path`.
async fn matched(router: &mut Router, path: &str) -> Option<String> {
    // Parameters are replaced by a character that no path of a route contains.
    let request = Request::builder().uri(path.replace(['{', '}'], "~")).body(Body::empty()).ok()?;
    let answer = router.call(request).await.unwrap_or_else(|never| match never {});
    answer.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned())
}

async fn tell(request: Request, _: Next) -> Response {
    let mut answer = Response::new(Body::empty());
    if let Some(path) = request.extensions().get::<MatchedPath>() {
        answer.extensions_mut().insert(path.clone());
    }
    answer
}

/// Whether a router cannot have both paths: they differ only in the names of parameters, one of which may take the rest of the path.
fn conflict(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one.starts_with('{') && other.starts_with('{') => {
                if one.starts_with("{*") || other.starts_with("{*") {
                    return true;
                }
            }
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{any, get, post};

    use super::*;

    async fn called() -> Response {
        unreachable!("a handler was called")
    }

    #[tokio::test]
    async fn a_path_that_both_have_is_told_and_no_handler_is_called() {
        let beneath = Router::new().route("/ready", get(called)).fallback(called);
        let own = Router::new()
            .route("/metrics", any(called))
            .route("/dead-letters/{letter}", post(called))
            .route("/{anything}", get(called))
            .route("/docs/file", get(called))
            .route("/docs/{*rest}", get(called))
            .nest("/health", beneath)
            .nest_service("/sagas", Router::new().route("/", get(called)))
            .fallback(called);
        let paths =
            ["/health", "/health/ready", "/metrics", "/dead-letters", "/dead-letters/{id}", "/docs", "/docs/{file}", "/sagas"];
        let problems = problems(&own, &paths, None, None).await;
        let told: Vec<_> = problems.iter().map(|problem| problem.split('`').nth(1).expect("a path")).collect();
        assert_eq!(told, ["/health/ready", "/metrics", "/dead-letters/{letter}", "/docs/{*rest}", "/sagas"], "{problems:#?}");
        assert!(problems.iter().all(|problem| problem.contains("`Service::prefix(\"/_sagas\")`")), "{problems:#?}");
    }

    #[tokio::test]
    async fn what_is_not_told_can_be_served() {
        let own = Router::new()
            .route("/{anything}", get(called))
            .route("/dead-letters/{id}/{*rest}", get(called))
            .route("/dead-letters/id", get(called))
            .nest_service("/assets", Router::new().route("/", get(called)))
            .fallback(called);
        let paths = ["/health", "/dead-letters", "/dead-letters/{id}", "/dead-letters/{id}/retry"];
        assert_eq!(problems(&own, &paths, None, None).await, Vec::<String>::new());
        let _served = paths.iter().fold(own, |own, path| own.route(path, post(called)));
    }

    #[test]
    fn a_route_that_is_under_the_prefix_already_is_told() {
        let own = |path: &str| Router::new().route("/teas", get(called)).route(path, get(called));
        assert!(nested(own("/api/v2/teas"), "/api/v1").is_ok());
        let problem = nested(own("/api/v1/teas"), "/api/v1").expect_err("there are two");
        assert!(problem.contains("under `/api/v1` too") && problem.contains("/api/v1/teas"), "{problem}");
    }

    #[tokio::test]
    async fn under_a_prefix_only_what_is_there_overlaps() {
        let own = Router::new().route("/health", get(async || "own")).route("/api/v1/_sagas/health", get(async || "own"));
        assert_eq!(problems(&own, &["/health"], Some("/_sagas"), None).await, Vec::<String>::new());
        let problems = problems(&own, &["/health"], Some("/_sagas"), Some("/api/v1")).await;
        assert!(problems.len() == 1 && problems[0].starts_with("`/api/v1/_sagas/health` is a route of its own"), "{problems:?}");
    }
}
