//! What is for operators only, as it is described.

use utoipa::openapi::{
    OpenApi, PathItem, Ref, SecurityRequirement,
    path::Operation,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

use super::answers::{FORBIDDEN, UNAUTHORIZED};
use crate::runtime::{Operators, ServiceHandle};

/// The scheme's name among the components.
const OPERATOR: &str = "operator";

/// The same as [`operators_only`](crate::http::operators_only) for routes that are described: where the token is needed, the description
/// says so; where there are no operators, neither the routes nor their description are left.
pub fn operators_only(service: &ServiceHandle, routes: OpenApiRouter) -> OpenApiRouter {
    let (router, mut description) = routes.split_for_parts();
    guard(service.operators(), &mut description);
    let mut guarded = OpenApiRouter::from(crate::http::operators_only(service, router));
    *guarded.get_openapi_mut() = description;
    guarded
}

/// Has `description` say of all its operations that they are for `operators` only.
pub(super) fn guard(operators: &Operators, description: &mut OpenApi) {
    if !operators.exist() {
        // The schemas may be those of other operations, too.
        description.paths.paths.clear();
        description.tags = None;
        return;
    }
    let token = operators.need_a_token();
    for path in description.paths.paths.values_mut() {
        let PathItem { put, post, delete, patch, .. } = path;
        for acting in [put, post, delete, patch].into_iter().flatten() {
            answers(acting, &FORBIDDEN);
        }
        if token {
            let PathItem { get, put, post, delete, patch, head, options, trace, .. } = path;
            for operation in [get, put, post, delete, patch, head, options, trace].into_iter().flatten() {
                answers(operation, &UNAUTHORIZED);
                operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], _>(OPERATOR, [])]);
            }
        }
    }
    if token {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The operator's token.")).build();
        description.components.get_or_insert_default().add_security_scheme(OPERATOR, SecurityScheme::Http(scheme));
    }
}

fn answers(operation: &mut Operation, answer: &super::answers::Answer) {
    let response = Ref::from_response_name(answer.name).into();
    operation.responses.responses.entry(answer.status.to_string()).or_insert(response);
}
