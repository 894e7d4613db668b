//! The rules of `#[event]`: each a place and a sentence.

use syn::{Data, DataEnum, DataStruct, Fields, FieldsNamed, Generics, Ident, LitInt, LitStr, Member, ext::IdentExt};

use super::{
    model::{Event, Key, Model, Set, Variant},
    parse::Source,
};
use crate::shared::{Errors, Target, cfgs, list, nearest};

/// Kafka's limit for the name of a topic.
const LONGEST_TOPIC: usize = 249;

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
    Event { target, topic: topic.unwrap_or_default(), key, name, version }
}

fn topic(source: &Source, errors: &mut Errors) -> Option<String> {
    let Some(given) = source.options.find("topic") else {
        errors.attribute(&source.item.ident, "an event needs a topic: add `topic = \"..\"`, the Kafka topic that carries it");
        return None;
    };
    let literal: LitStr = given.value("is a string", errors)?;
    let topic = literal.value();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() {
        errors.at(&literal, "the name of a topic has at least one character");
    } else if topic.len() > LONGEST_TOPIC {
        errors.at(
            &literal,
            format!("the name of a topic has at most {LONGEST_TOPIC} characters; this one has {}", topic.chars().count()),
        );
    } else if let Some(illegal) = topic.chars().find(|c| !legal(*c)) {
        errors.at(
            &literal,
            format!(
                "the name of a topic cannot contain {illegal:?}: Kafka allows the letters a-z and A-Z, digits, `.`, `_` and `-`"
            ),
        );
    } else if topic == "." || topic == ".." {
        errors.at(&literal, format!("Kafka allows no topic that is called `{topic}`"));
    }
    Some(topic)
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
    let wanted = given.parse(Ident::parse_any, "is the name of a field", errors)?;
    let wanted_name = wanted.unraw().to_string();
    let found = named.into_iter().zip(&names).find(|(_, name)| **name == wanted_name);
    let Some(((field, ty), _)) = found else {
        let meant = nearest(&wanted_name, &names).map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
        errors
            .at(&wanted, format!("`{}` has no field `{wanted_name}`{meant}; it has {}", source.item.ident.unraw(), list(&names)));
        return None;
    };
    Some(Key { field: field.clone(), ty: ty.clone() })
}

fn name(source: &Source, errors: &mut Errors) -> Option<String> {
    let literal: LitStr = source.options.find("name")?.value("is a string", errors)?;
    let name = literal.value();
    if name.is_empty() {
        errors.at(&literal, "the name of an event has at least one character; without `name` it is the name of the struct");
    } else if let Some(control) = name.chars().find(|c| c.is_control() || c.is_whitespace()) {
        errors
            .at(&literal, format!("the name of an event cannot contain {control:?}: it goes into the record's header `ce_type`"));
    }
    Some(name)
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
            format!("an enum of events has no `{}` of its own: each event in it says that where it is defined", given.name),
        );
    }
    if data.variants.is_empty() {
        errors.at(&source.item.ident, "an enum of events has at least one variant, with an event in it: `Created(OrderCreated)`");
    }
    let variants: Vec<Variant> = data.variants.iter().filter_map(|variant| self::variant(variant, errors)).collect();
    for (at, variant) in variants.iter().enumerate() {
        let same = |other: &&Variant| other.event == variant.event && other.cfgs.is_empty() && variant.cfgs.is_empty();
        if let Some(first) = variants[..at].iter().find(same) {
            errors.at(
                &variant.event,
                format!("variant `{}` holds this event already; an event is in one variant of a set", first.ident),
            );
        }
    }
    Set { target, variants }
}

fn variant(variant: &syn::Variant, errors: &mut Errors) -> Option<Variant> {
    let mut fields = variant.fields.iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        let (ident, has) = (&variant.ident, variant.fields.len());
        errors.at(
            variant,
            format!("each variant of an enum of events holds exactly one event, `{ident}(..)`; `{ident}` holds {has} values"),
        );
        return None;
    };
    let member = field.ident.clone().map_or(Member::from(0), Member::from);
    Some(Variant { ident: variant.ident.clone(), cfgs: cfgs(&variant.attrs), field: member, event: field.ty.clone() })
}
