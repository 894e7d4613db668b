use sagas::prelude::*;

#[handler]
async fn reserve() {}

fn main() {}
