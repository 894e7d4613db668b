use sagas::prelude::*;

#[handler]
async fn audit<E>(On(_): On<E>) {}

fn main() {
    let _ = handlers![audit::<u64>];
}
