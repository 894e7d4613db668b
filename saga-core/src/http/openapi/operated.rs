//! What is said of routes that are for operators.

use utoipa::openapi::{
    OpenApi, OpenApiBuilder, PathItem, SecurityRequirement,
    path::Operation,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::answers::{FORBIDDEN, MISDIRECTED, UNAUTHORIZED};
use crate::runtime::Operators;

/// The name of what operators send.
const SCHEME: &str = "operator";

/// `described`, where only `operators` are let in; nothing where there are none.
pub(crate) fn operated(operators: &Operators, mut described: OpenApi) -> OpenApi {
    if !operators.exist() {
        return OpenApiBuilder::new().build();
    }
    for item in described.paths.paths.values_mut() {
        for (operation, acts) in operations(item) {
            if operators.need_a_token() {
                operation.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
                UNAUTHORIZED.add_to(operation);
            }
            if operators.are_local() {
                MISDIRECTED.add_to(operation);
            }
            if acts {
                FORBIDDEN.add_to(operation);
            }
        }
    }
    if operators.need_a_token() {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The operator's token.")).build();
        described.components.get_or_insert_default().add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    }
    described
}

/// The operations of a path, each with whether it changes something.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let reading = [&mut item.get, &mut item.head, &mut item.options, &mut item.trace].into_iter().flatten();
    let acting = [&mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten();
    reading.map(|operation| (operation, false)).chain(acting.map(|operation| (operation, true)))
}
