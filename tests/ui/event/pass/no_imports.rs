//! The generated code needs nothing in scope, and is not affected by names in scope.

#![deny(warnings)]

extern crate sagas as flows;

#[allow(dead_code)]
mod shadows {
    pub struct Vec;
    pub struct String;
    pub struct Box;
    pub struct Result;
    pub struct Option;
    pub trait Send {}
    pub trait Sync {}
    pub trait Event {}

    #[flows::event(topic = "orders", key = id, crate = flows)]
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct Changed<T> {
        pub id: u64,
        pub to: T,
    }

    #[flows::event(crate = ::sagas)]
    pub enum Change {
        Number(Changed<u64>),
        Text(Changed<::std::string::String>),
    }

    #[flows::handler(retry(max = 2, backoff = "1s..2s"), timeout = "1s", on_dead = "hold", exhausted = give_up)]
    pub async fn change(_: flows::extract::On<Change>) {}

    pub async fn give_up(_: flows::extract::On<Change>) {}
}

fn main() {
    assert_eq!(flows::handlers![shadows::change][0].accepts().len(), 2);
}
