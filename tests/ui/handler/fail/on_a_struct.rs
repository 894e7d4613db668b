use sagas::prelude::*;

#[handler]
struct Reserve;

fn main() {}
