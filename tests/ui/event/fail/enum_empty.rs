use sagas::prelude::*;

#[event]
enum OrderEvent {}

fn main() {}
