//! Raw identifiers, visibility, docs and `cfg`s: the macro does not change the item.

#![deny(warnings, missing_docs)]

/// What orders tell.
pub mod contracts {
    use sagas::prelude::*;
    use serde::{Deserialize, Serialize};

    /// A keyword as the key, in either spelling.
    #[event(topic = "orders", key = r#type)]
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct Typed {
        /// The kind.
        pub r#type: String,
    }

    /// A keyword as the name.
    #[allow(non_camel_case_types)]
    #[event(topic = "orders", key = type)]
    #[derive(Serialize, Deserialize)]
    pub struct r#match {
        /// The kind.
        pub r#type: String,
    }

    /// Not there, however much of it does not compile.
    #[event(topic = "orders", key = id)]
    #[cfg(any())]
    pub struct Absent {
        /// Who.
        pub id: NoSuchType,
    }

    /// Not there either.
    #[event]
    #[cfg(any())]
    pub enum AbsentSet {
        /// Nothing.
        Absent(Absent),
    }

    /// There.
    #[event(topic = "orders", key = id)]
    #[cfg_attr(all(), derive(Serialize, Deserialize))]
    pub(super) struct Hidden {
        pub(super) id: u8,
        #[cfg(any())]
        absent: NoSuchType,
    }
}

use sagas::message::Event;

fn main() {
    assert_eq!(contracts::Typed { r#type: "t".into() }.key(), "t");
    assert_eq!((contracts::r#match::NAME, contracts::Typed::NAME), ("match", "Typed"));
    assert_eq!(contracts::r#match { r#type: "m".into() }.key(), "m");
    assert_eq!(contracts::Hidden { id: 3 }.key(), "3");
}
