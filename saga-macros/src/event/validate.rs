//! The rules of `#[event]`. Each reports a place and a message.

use syn::{
    Data, DataEnum, DataStruct, Fields, FieldsNamed, Generics, Ident, LitInt, LitStr, Member, Path, Token, Type, bracketed,
    ext::IdentExt,
    parenthesized,
    parse::{ParseStream, Parser},
    punctuated::Punctuated,
    token,
};

use super::{
    model::{Event, Key, Model, Set, Upcast, Variant},
    parse::Source,
};
use crate::shared::{Errors, Target, cfgs, list, nearest, topic_name};

pub(super) fn model(source: &Source, errors: &mut Errors) -> Model {
    let item = &source.item;
    let target = Target::new(source.options.krate(errors), &item.ident, &item.generics, &item.attrs);
    owned(&item.generics, errors);
    match &item.data {
        Data::Struct(data) => Model::Event(Box::new(event(source, target, data, errors))),
        Data::Enum(data) => Model::Set(Box::new(set(source, target, data, errors))),
        Data::Union(data) => {
            errors
                .at(&data.union_token, "`#[event]` goes on a struct, or on an enum of events; a union cannot be written as JSON");
            Model::Nothing
        }
    }
}

fn owned(generics: &Generics, errors: &mut Errors) {
    for lifetime in generics.lifetimes() {
        errors.at(
            lifetime,
            format!("an event owns its data, it outlives whatever it was read from: remove `{}`", lifetime.lifetime),
        );
    }
}

fn event(source: &Source, target: Target, data: &DataStruct, errors: &mut Errors) -> Event {
    let ident = source.item.ident.unraw().to_string();
    let topic = topic(source, errors);
    let key = match &data.fields {
        Fields::Named(fields) if !fields.named.is_empty() => key(source, fields, errors),
        Fields::Named(_) | Fields::Unit => {
            errors.at(
                &source.item.ident,
                format!("`{ident}` has no field that could be its key: an event is a struct with named fields"),
            );
            None
        }
        Fields::Unnamed(fields) => {
            errors.at(fields, "an event has named fields: they are the names in its JSON, and one of them is its key");
            None
        }
    };
    let name = name(source, errors).unwrap_or(ident);
    let version = version(source, errors).unwrap_or(1);
    let also = also(source, &name, errors);
    let upcasts = upcasts(source, version, errors);
    let codec = source.options.find("codec").and_then(|given| given.value("is the type of a codec", errors));
    Event { target, topic: topic.unwrap_or_default(), key, name, version, also, upcasts, codec }
}

fn topic(source: &Source, errors: &mut Errors) -> Option<String> {
    let Some(given) = source.options.find("topic") else {
        errors.attribute(&source.item.ident, "an event needs a topic: add `topic = \"..\"`, the Kafka topic that carries it");
        return None;
    };
    let literal: LitStr = given.value("is a string", errors)?;
    Some(topic_name(&literal, errors))
}

fn key(source: &Source, fields: &FieldsNamed, errors: &mut Errors) -> Option<Key> {
    let named: Vec<(&Ident, &syn::Type)> =
        fields.named.iter().filter_map(|field| Some((field.ident.as_ref()?, &field.ty))).collect();
    let names: Vec<String> = named.iter().map(|(ident, _)| ident.unraw().to_string()).collect();
    let Some(given) = source.options.find("key") else {
        errors.attribute(
            &source.item.ident,
            format!(
                "an event needs a key: add `key = ..` with one of its fields ({}); events of one key are handled in order",
                list(&names)
            ),
        );
        return None;
    };
    let parts = given.parse(parts, "is the name of a field, or of several in parentheses", errors)?;
    for part in &parts.paths {
        let wanted = part.first()?;
        let wanted_name = wanted.unraw().to_string();
        if !names.contains(&wanted_name) {
            let meant = nearest(&wanted_name, &names).map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
            errors.at(
                wanted,
                format!("`{}` has no field `{wanted_name}`{meant}; it has {}", source.item.ident.unraw(), list(&names)),
            );
            return None;
        }
    }
    let flat = |path: &[Ident]| match path {
        [field] => named.iter().find(|(ident, _)| ident.unraw() == field.unraw()),
        _ => None,
    };
    match (parts.paths.as_slice(), parts.ty) {
        ([path], None) => match flat(path) {
            // The type as it is written in the struct, so that the compiler reports problems with it there.
            Some((field, ty)) => Some(Key { paths: vec![vec![(*field).clone()]], ty: Some((*ty).clone()) }),
            None => Some(Key { paths: parts.paths, ty: None }),
        },
        (_, ty) => Some(Key { paths: parts.paths, ty }),
    }
}

/// The fields of a key, and the type that is given for it.
struct Parts {
    paths: Vec<Vec<Ident>>,
    ty: Option<Type>,
}

/// Parses `order_id`, `order.id`, `order.id as OrderId` or `(tenant, order.id)`.
fn parts(input: ParseStream<'_>) -> syn::Result<Parts> {
    let path = |input: ParseStream<'_>| {
        let path = Punctuated::<Ident, Token![.]>::parse_separated_nonempty_with(input, Ident::parse_any)?;
        Ok(path.into_iter().collect())
    };
    if input.peek(token::Paren) {
        let several;
        parenthesized!(several in input);
        let paths: Vec<_> = Punctuated::<_, Token![,]>::parse_terminated_with(&several, path)?.into_iter().collect();
        return if paths.is_empty() { Err(several.error("no field")) } else { Ok(Parts { paths, ty: None }) };
    }
    let paths = vec![path(input)?];
    let ty = if input.parse::<Option<Token![as]>>()?.is_some() { Some(input.parse()?) } else { None };
    Ok(Parts { paths, ty })
}

fn name(source: &Source, errors: &mut Errors) -> Option<String> {
    let literal: LitStr = source.options.find("name")?.value("is a string", errors)?;
    Some(legal_name(&literal, errors))
}

fn legal_name(literal: &LitStr, errors: &mut Errors) -> String {
    let name = literal.value();
    if name.is_empty() {
        errors.at(literal, "the name of an event has at least one character; without `name` it is the name of the struct");
    } else if name == "*" {
        errors.at(literal, "no event is called `*`: that stands for whatever a topic carries");
    } else if let Some(control) = name.chars().find(|c| c.is_control() || c.is_whitespace()) {
        errors
            .at(literal, format!("the name of an event cannot contain {control:?}: it goes into the record's header `ce_type`"));
    }
    name
}

/// The previous names: without duplicates, and without the current name.
fn also(source: &Source, name: &str, errors: &mut Errors) -> Vec<String> {
    let names = |input: ParseStream<'_>| {
        let names;
        bracketed!(names in input);
        Punctuated::<LitStr, Token![,]>::parse_terminated(&names)
    };
    let Some(given) = source.options.find("also") else { return Vec::new() };
    let literals = given.parse(names, "is a list of names that the event had before", errors).unwrap_or_default();
    let mut also = Vec::new();
    for literal in &literals {
        let former = legal_name(literal, errors);
        if former == name {
            errors.at(literal, format!("`{former}` is the name of the event; `also` has names that it had before"));
        } else if also.contains(&former) {
            errors.at(literal, format!("`{former}` stands in `also` twice; keep one"));
        }
        also.push(former);
    }
    also
}

/// The upcasts: each from an earlier version, without duplicates.
fn upcasts(source: &Source, version: u32, errors: &mut Errors) -> Vec<Upcast> {
    let Some(given) = source.options.find("upcast") else { return Vec::new() };
    let expected = "takes versions and functions, each from the shape of that version to the next";
    let Some(tokens) = given.list(expected, errors) else { return Vec::new() };
    let one = |input: ParseStream<'_>| {
        let from: LitInt = input.parse()?;
        input.parse::<Token![=>]>()?;
        Ok((from, Path::parse_mod_style(input)?))
    };
    let Ok(all) = (|input: ParseStream<'_>| Punctuated::<_, Token![,]>::parse_terminated_with(input, one)).parse2(tokens) else {
        given.wrong(expected, errors);
        return Vec::new();
    };
    if all.is_empty() {
        given.wrong(expected, errors);
    }
    let mut upcasts: Vec<Upcast> = Vec::new();
    for (literal, function) in all {
        let from = literal.base10_parse::<u32>().ok().filter(|from| *from >= 1 && literal.suffix().is_empty());
        match from {
            None => errors.at(&literal, "a version is a whole number from 1 to 4294967295"),
            Some(from) if from >= version => errors.at(
                &literal,
                format!(
                    "the event's version is {version}, and an upcast is from a version before it: raise `version` to {} or more",
                    from.saturating_add(1)
                ),
            ),
            Some(from) if upcasts.iter().any(|other| other.from == from) => {
                errors.at(&literal, format!("version {from} has an upcast already; keep one"));
            }
            Some(from) => upcasts.push(Upcast { from, function }),
        }
    }
    upcasts.sort_by_key(|upcast| upcast.from);
    upcasts
}

fn version(source: &Source, errors: &mut Errors) -> Option<u32> {
    let given = source.options.find("version")?;
    let literal: LitInt = given.value("is a whole number", errors)?;
    let version = literal.base10_parse().ok().filter(|version| *version >= 1 && literal.suffix().is_empty());
    if version.is_none() {
        given.wrong("is a whole number from 1 to 4294967295", errors);
    }
    version
}

fn set(source: &Source, target: Target, data: &DataEnum, errors: &mut Errors) -> Set {
    for given in source.options.iter().filter(|given| given.name != "crate") {
        errors.at(
            given,
            format!("an enum of events has no `{}` of its own: the definition of each event in it has that", given.name),
        );
    }
    if data.variants.is_empty() {
        errors.at(&source.item.ident, "an enum of events has at least one variant, with an event in it: `Created(OrderCreated)`");
    }
    let variants: Vec<Variant> = data.variants.iter().filter_map(|variant| self::variant(variant, errors)).collect();
    for (at, variant) in variants.iter().enumerate() {
        let same = |other: &&Variant| other.event == variant.event && other.cfgs.is_empty() && variant.cfgs.is_empty();
        if let Some(first) = variants[..at].iter().find(same) {
            let fix = fields_of_its_own(matches!(variant.field, Member::Named(_)));
            errors.at(
                &variant.event,
                format!("variant `{}` holds this event already; an event is in one variant of a set{fix}", first.ident),
            );
        }
    }
    Set { target, variants }
}

/// The fix for a variant whose fields are those of an event.
fn fields_of_its_own(named: bool) -> &'static str {
    if named { "; put its fields into a struct with `#[event(topic = \"..\", key = ..)]`" } else { "" }
}

fn variant(variant: &syn::Variant, errors: &mut Errors) -> Option<Variant> {
    let mut fields = variant.fields.iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        let (ident, has) = (&variant.ident, variant.fields.len());
        let fix = fields_of_its_own(matches!(variant.fields, Fields::Named(_)));
        errors.at(
            variant,
            format!(
                "each variant of an enum of events holds exactly one event, `{ident}(..)`; `{ident}` holds {has} values{fix}"
            ),
        );
        return None;
    };
    let member = field.ident.clone().map_or(Member::from(0), Member::from);
    Some(Variant { ident: variant.ident.clone(), cfgs: cfgs(&variant.attrs), field: member, event: field.ty.clone() })
}
