use sagas::prelude::*;

#[handler]
async fn reserve(_tx: Tx, _meta: Meta) {}

fn main() {}
