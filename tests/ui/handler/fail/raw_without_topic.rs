use sagas::{Failure, message::Raw, prelude::*};

#[handler]
async fn transferred(On(record): On<Raw>) -> Result<(), Failure> {
    record.json::<u64>()?;
    Ok(())
}

type Anything = Raw;

#[handler]
async fn gathered(Batch(_): Batch<Anything>) {}

fn main() {}
