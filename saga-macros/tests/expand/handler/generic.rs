//! A handler for each choice of its parameters.

use sagas::{message::Event, prelude::*};

#[handler]
pub async fn forward<E: Event, const MOST: usize>(On(event): On<E>, State(sent): State<usize>) -> Option<E>
where
    E: Clone,
{
    (sent < MOST).then_some(event)
}

fn main() {}
