//! A generic fn is a handler for each choice of its parameters.

#![deny(warnings)]

#[path = "../../contracts.rs"]
mod contracts;

use contracts::*;
use sagas::{message::Event, prelude::*};

pub trait Provider: Clone + Send + Sync + 'static {
    fn send(&self) -> bool;
}

#[derive(Clone)]
pub struct Smtp;

impl Provider for Smtp {
    fn send(&self) -> bool {
        true
    }
}

#[handler]
async fn notify<P, const MOST: usize>(On(_): On<OrderCreated>, State(provider): State<P>) -> Result<(), Failure>
where
    P: Provider,
{
    if provider.send() && MOST > 0 { Ok(()) } else { Err(Failure::retry("not sent")) }
}

#[handler]
async fn forward<E: Event + Clone>(On(event): On<E>, _tx: Tx) -> Option<E> {
    Some(event)
}

#[handler]
async fn count<const MOST: usize>(Batch(orders): Batch<OrderCreated>) {
    assert!(orders.len() <= MOST);
}

fn main() {
    let [notify, created, cancelled, count] =
        handlers![notify::<Smtp, 3>, forward::<OrderCreated>, forward<OrderCancelled>, count::<8>];
    assert_eq!(notify.options().name, "notify");
    assert_eq!(created.accepts()[0].name, "OrderCreated");
    assert_eq!(cancelled.publishes()[0].name, "OrderCancelled");
    assert!(count.requirements().batch);
}
