//! The schemas of the types that requests and responses consist of.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Object, ObjectBuilder, RefOr, Required, Schema, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::SchemaType,
    },
};

use crate::{Problem, problem::Body};

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        Body::schema()
    }
}

impl ToSchema for Problem {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Body::schemas(schemas);
    }
}

/// Text of 1 to `most` characters without control characters.
pub(crate) fn words(most: usize) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(most))
        .pattern(Some(r"^[^\u0000-\u001F\u007F-\u009F]*$"))
        .build()
}

/// Bytes as base64 (RFC 4648, padded).
pub(crate) fn base64() -> Object {
    encoded(Type::String.into())
}

/// Bytes as base64, or null.
pub(crate) fn base64_or_null() -> Object {
    encoded(SchemaType::from_iter([Type::String, Type::Null]))
}

fn encoded(kind: SchemaType) -> Object {
    let pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
    ObjectBuilder::new().schema_type(kind).content_encoding("base64").pattern(Some(pattern)).build()
}

/// The parameters of a page.
pub(crate) fn page(size: u32, most: u32, last: i64) -> Vec<Parameter> {
    let number = |from: i64, to: i64, usual: u32| {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(from)).maximum(Some(to)).default(Some(usual.into()))
    };
    let query = |name: &str, description: &str, schema: ObjectBuilder| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema))
            .build()
    };
    vec![
        query("page", "Which page of the list: they count from 0.", number(0, last, 0)),
        query("size", "How many items a page has at most.", number(1, most.into(), size)),
    ]
}
