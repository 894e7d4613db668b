//! The description of routes for operators.

use utoipa::openapi::{
    OpenApi, OpenApiBuilder, PathItem, SecurityRequirement,
    path::Operation,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::answers::{FORBIDDEN, MISDIRECTED, UNAUTHORIZED};
use crate::operators::Access;

/// The name of the security scheme of operators.
const SCHEME: &str = "operator";

/// Adds to `described` what operators with `access` send. Returns an empty description if access is impossible.
pub(crate) fn operated(access: &Access, mut described: OpenApi) -> OpenApi {
    if !access.exists() {
        return OpenApiBuilder::new().build();
    }
    for item in described.paths.paths.values_mut() {
        for (operation, acts) in operations(item) {
            if access.takes_a_credential() {
                operation.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
                UNAUTHORIZED.add_to(operation);
            } else {
                MISDIRECTED.add_to(operation);
            }
            if acts {
                FORBIDDEN.add_to(operation);
            }
        }
    }
    if access.takes_a_credential() {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The operator's token.")).build();
        described.components.get_or_insert_default().add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    }
    described
}

/// Returns the operations of a path, each with whether it changes something.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let reading = [&mut item.get, &mut item.head, &mut item.options, &mut item.trace].into_iter().flatten();
    let acting = [&mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten();
    reading.map(|operation| (operation, false)).chain(acting.map(|operation| (operation, true)))
}
