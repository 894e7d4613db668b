#[path = "../../contracts.rs"]
mod contracts;

use axum::extract::State;
use contracts::*;
use sagas::prelude::*;

// As axum has it.
mod axum {
    pub mod extract {
        #[derive(Clone)]
        pub struct State<S>(pub S);
    }
}

#[derive(Clone)]
struct Mailer;

#[handler]
async fn reserve(On(_): On<OrderCreated>, State(_mailer): State<Mailer>) {}

fn main() {}
