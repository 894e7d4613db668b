//! Adds what all routes have in common to a description, and checks a description for errors.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::{OpenApi, RefOr, Schema},
};

use crate::Problem;
use crate::schema::answers::{
    ALL, BAD_REQUEST, BROKEN, INTERNAL, INVALID, PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT, UNAVAILABLE, UNSUPPORTED_MEDIA_TYPE,
};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

const COMMON: &str = "Errors are problems (RFC 9457, `application/problem+json`), with a `code` that stays the same. \
    A path that is not described answers 404 `NOT_FOUND`, and a method that is not described 405 `METHOD_NOT_ALLOWED` with `Allow`. \
    `X-Correlation-Id` is taken or made, returned, and carried through every event and log line.";

/// Returns `described` with the parameters and responses of [`harden`](crate::harden) and the extractors.
pub(super) fn complete(mut described: OpenApi) -> Value {
    let components = described.components.get_or_insert_default();
    for (name, schema) in problem_schemas() {
        components.schemas.entry(name).or_insert(schema);
    }
    for answer in ALL {
        components.responses.insert(answer.name.to_owned(), answer.response().into());
    }
    let info = &mut described.info;
    info.description = Some(match info.description.take().filter(|own| !own.is_empty()) {
        Some(own) => format!("{own}\n\n{COMMON}"),
        None => COMMON.to_owned(),
    });

    let mut document = json!(described);
    document["components"]["headers"] = headers();
    document["components"]["parameters"] = json!({"CorrelationId": {
        "name": "X-Correlation-Id",
        "in": "header",
        "description": "Taken if it is 1 to 128 visible ASCII characters; else one is made.",
        "schema": {"type": "string", "examples": ["7f1b6a52-checkout"]},
    }});
    for (_, _, operation) in operations(&mut document) {
        complete_operation(operation);
    }
    let responses = document["components"]["responses"].as_object_mut().into_iter().flatten();
    for (_, response) in responses {
        with_header(response, "X-Correlation-Id", "CorrelationId");
    }
    document
}

fn headers() -> Value {
    json!({
        "CorrelationId": {
            "description": "The correlation id of the request, which every event and log line has.",
            "required": true,
            "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
        },
        "TotalCount": {
            "description": "How many items there are on all pages.",
            "required": true,
            "schema": {"type": "integer", "minimum": 0},
        },
        "NextPage": {
            "description": "The address of the next page, unless this is the last: `</orders?page=1&size=50>; rel=\"next\"`.",
            "schema": {"type": "string", "pattern": "^<[^>]+>; rel=\"next\"$"},
        },
    })
}

fn complete_operation(operation: &mut Value) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let mut parameters: Vec<_> = parameters.into_iter().map(as_it_is_written).collect();
    let named = |name: &str| parameters.iter().any(|parameter| parameter["in"] == "query" && parameter["name"] == name);
    let (listed, any) = (named("page") && named("size"), !parameters.is_empty());
    parameters.push(json!({"$ref": "#/components/parameters/CorrelationId"}));
    operation["parameters"] = parameters.into();

    // An optional body is present or absent, but never null.
    let bodies = operation.get_mut("requestBody").and_then(|body| body["content"].as_object_mut());
    for (_, content) in bodies.into_iter().flatten() {
        *content = as_it_is_written(content.take());
    }
    let takes_json = operation.pointer("/requestBody/content/application~1json").is_some();
    // Any request can have a body, which is read before anything else is done.
    let mut common = vec![REQUEST_TIMEOUT, PAYLOAD_TOO_LARGE, INTERNAL, UNAVAILABLE];
    if takes_json {
        common.extend([BAD_REQUEST, UNSUPPORTED_MEDIA_TYPE]);
    } else if any {
        common.push(INVALID);
    } else {
        common.push(BROKEN);
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for answer in common {
        responses.entry(answer.status.to_string()).or_insert_with(|| answer.reference());
    }
    for (status, response) in responses {
        if response.get("$ref").is_some() {
            continue;
        }
        with_header(response, "X-Correlation-Id", "CorrelationId");
        if listed && status.starts_with('2') {
            with_header(response, "X-Total-Count", "TotalCount");
            with_header(response, "Link", "NextPage");
        }
    }
}

fn with_header(response: &mut Value, header: &str, component: &str) {
    response["headers"][header] = json!({"$ref": format!("#/components/headers/{component}")});
}

/// Returns a parameter with its schema as in a request, where it is present or absent, but never null.
fn as_it_is_written(mut parameter: Value) -> Value {
    if let Some(schema) = parameter.get_mut("schema") {
        never_null(schema);
    }
    parameter
}

fn never_null(schema: &mut Value) {
    let null = json!("null");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| *kind != null);
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    for several in ["oneOf", "anyOf"] {
        let Some(choices) = schema.get_mut(several).and_then(Value::as_array_mut) else { continue };
        choices.retain(|choice| choice.get("type") != Some(&null));
        if let [only] = choices.as_slice() {
            let (only, description) = (only.clone(), schema.get("description").cloned());
            *schema = only;
            if let (Some(fields), Some(description)) = (schema.as_object_mut(), description) {
                fields.insert("description".to_owned(), description);
            }
        }
    }
}

fn operations(document: &mut Value) -> impl Iterator<Item = (&String, &'static str, &mut Value)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let found = item.as_object_mut().into_iter().flatten();
        found.filter_map(move |(name, operation)| {
            let method = METHODS.into_iter().find(|method| method == name)?;
            Some((path, method, operation))
        })
    })
}

/// Returns the schemas of the answers that every route has.
fn problem_schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(Problem::name().into_owned(), <Problem as utoipa::PartialSchema>::schema())];
    Problem::schemas(&mut schemas);
    schemas
}

/// Returns a problem for each schema of `own` that differs from the one of the same name in `framework`, or of the answers that every
/// route has.
pub(super) fn two_meanings(own: &OpenApi, framework: &OpenApi) -> Vec<String> {
    let schemas = |described: &OpenApi| -> BTreeMap<String, RefOr<Schema>> {
        described.components.as_ref().map(|components| components.schemas.clone()).unwrap_or_default()
    };
    let mut others = schemas(framework);
    others.extend(problem_schemas());
    let own = schemas(own);
    let taken = own.iter().filter(|(name, schema)| others.get(*name).is_some_and(|other| other != *schema));
    taken
        .map(|(name, _)| format!("`{name}` is a schema of the framework too; give yours another name: #[schema(as = ..)]"))
        .collect()
}

/// Returns the errors of a document.
pub(super) fn problems(document: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let mut document = document.clone();
    let mut known = BTreeMap::new();
    for (path, method, operation) in operations(&mut document) {
        let (id, here) = (operation["operationId"].as_str().unwrap_or_default().to_owned(), format!("{method} {path}"));
        if let Some(other) = known.insert(id.clone(), here.clone()) {
            problems
                .push(format!("{other} and {here} are both the operation `{id}`; give one another name: operation_id = \"..\""));
        }
    }
    let mut references = BTreeSet::new();
    gather(&document, &mut references);
    let missing = references.into_iter().filter(|reference| {
        let pointer = reference.strip_prefix('#').unwrap_or_default();
        document.pointer(pointer).is_none()
    });
    problems.extend(
        missing.map(|reference| {
            format!("`{reference}` is named and not described; is its type listed, and does it derive ToSchema?")
        }),
    );
    problems
}

fn gather(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| gather(value, references)),
        Value::Object(fields) => gather_fields(fields, references),
        _ => {}
    }
}

fn gather_fields(fields: &Map<String, Value>, references: &mut BTreeSet<String>) {
    for (name, value) in fields {
        match value {
            Value::String(reference) if name == "$ref" => {
                references.insert(reference.clone());
            }
            // A reference inside an example is only text.
            _ if name == "example" || name == "examples" => {}
            value => gather(value, references),
        }
    }
}
