//! The names of the parameters that a query can have.

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error, Visitor},
    forward_to_deserialize_any,
};

use super::{Problem, invalid};

/// The parameters that [`Page`](super::Page) reads.
pub(super) const PAGE: [&str; 2] = ["page", "size"];

/// Request extension: the query was already checked for unknown parameters.
#[derive(Clone, Copy)]
pub(super) struct Checked;

/// Request extension: a [`Page`](super::Page) has checked the query before a [`Query`](super::Query) could define further parameters.
#[derive(Clone, Copy)]
pub(super) struct PageFirst;

/// Rejects a query with a parameter that is neither a field of `T` nor one of [`PAGE`].
pub(super) fn check<T: DeserializeOwned>(query: &str) -> Result<(), Problem> {
    fields::<T>().map_or(Ok(()), |fields| check_names(query, fields))
}

/// Rejects a query with a parameter that is neither in `names` nor in [`PAGE`].
pub(super) fn check_names(query: &str, names: &[&str]) -> Result<(), Problem> {
    let known = || names.iter().chain(PAGE.iter().filter(|name| !names.contains(name)));
    let mut asked = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    match asked.find(|name| !known().any(|known| known == name)) {
        Some(unknown) => {
            let list: Vec<_> = known().map(|name| format!("`{name}`")).collect();
            Err(invalid::field("query", &unknown, format!("is not known; the known ones are {}", list.join(", "))))
        }
        None => Ok(()),
    }
}

/// Returns the fields of `T`, including aliases. `None` if they are not fixed, as with a map or `#[serde(flatten)]`.
fn fields<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    T::deserialize(Probe).err().and_then(|Found(fields)| fields)
}

/// A deserializer that only records the fields of the struct that it is asked for.
struct Probe;

#[derive(Debug)]
struct Found(Option<&'static [&'static str]>);

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("only the fields were asked for")
    }
}

impl std::error::Error for Found {}

impl Error for Found {
    fn custom<M: std::fmt::Display>(_: M) -> Self {
        Self(None)
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Found;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Found> {
        Err(Found(Some(fields)))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Found> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Found> {
        Err(Found(None))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "the test only uses the names of its fields")]
    struct Filter {
        #[serde(alias = "customer")]
        customer_id: Option<String>,
        size: Option<u32>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "the test only uses the names of its fields")]
    struct Within(Filter);

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "the test only uses the names of its fields")]
    struct Flat {
        #[serde(flatten)]
        filter: Filter,
    }

    #[test]
    fn what_is_not_known_is_named_beside_what_is() {
        for check in [check::<Filter>, check::<Within>] {
            for query in ["", "customerId=a", "customer=a&size=x&page=2", "&&", "customer%49d=a"] {
                assert_eq!(check(query), Ok(()), "{query}");
            }
            for (query, name) in [("customerid=a", "customerid"), ("page=1&x%20y", "x y"), ("=1", "query"), ("Page=1", "Page")] {
                let problem = check(query).expect_err(query);
                assert_eq!((problem.code(), problem.errors()[0].field.as_str()), ("VALIDATION_ERROR", name), "{query}");
                let known = "is not known; the known ones are `customer`, `customerId`, `size`, `page`";
                assert_eq!(problem.errors()[0].message, known, "{query}");
            }
        }
    }

    #[test]
    fn what_has_no_fields_of_its_own_knows_all() {
        for check in [check::<HashMap<String, String>>, check::<Flat>, check::<Vec<(String, String)>>] {
            assert_eq!(check("anything=1"), Ok(()));
        }
    }

    #[test]
    fn a_long_name_comes_back_in_part() {
        let problem = check::<Filter>(&"x".repeat(100_000)).expect_err("not known");
        assert!(problem.detail().len() < 1_000, "{}", problem.detail().len());
    }
}
