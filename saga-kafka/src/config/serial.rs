//! Reading a configuration from a file or the environment, and writing it.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::{KafkaConfig, address, names};

impl Serialize for KafkaConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// Reads a table of settings, or a string that is a URL.
impl<'de> Deserialize<'de> for KafkaConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrTable;

        impl<'de> Visitor<'de> for UrlOrTable {
            type Value = KafkaConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Kafka URL as a string, or a table with `bootstrap`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<KafkaConfig, E> {
                url.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KafkaConfig, A::Error> {
                KafkaConfig::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(UrlOrTable)
    }
}

/// Reads a list of addresses, or one string separated by commas.
pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct ListOrText;

    impl<'de> Visitor<'de> for ListOrText {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of addresses, or a string with commas between them")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(address::split(text))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
            let mut all = Vec::new();
            while let Some(address) = seq.next_element()? {
                all.push(address);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(ListOrText)
}

/// Reads options by name. Names of environment variables have no dots, so `sasl_password` is read as `sasl.password`.
pub(super) fn options<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let given = BTreeMap::<String, String>::deserialize(deserializer)?;
    let mut options = BTreeMap::new();
    for (name, value) in given {
        let name = if names::is_known(&name) { name } else { name.replace('_', ".") };
        if options.insert(name.clone(), value).is_some() {
            return Err(de::Error::custom(format_args!("`{name}` is given twice, once with underscores for dots")));
        }
    }
    Ok(options)
}
