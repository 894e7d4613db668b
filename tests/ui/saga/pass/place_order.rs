//! A saga with every option.

#[path = "../../flow.rs"]
mod flow;

use flow::*;
use sagas::prelude::*;

/// Reserve the goods, take the payment, confirm; or give everything back.
///
/// The rest of the documentation is no part of what it is for.
#[saga(key = u64, starts = Created, completes = Shipped, aborts = Cancelled, deadline = "15m", version = 3, name = "place-order")]
pub enum PlaceOrder {
    /// Puts the goods aside.
    #[step(on = Created, emits = Reserved, rejects = Insufficient,
           undo(on(Declined, Cancelled), emits = Released))]
    Reserve,
    /// Charges the customer.
    #[step(on = Reserved, emits = Paid, rejects = Declined, undo(on = Cancelled, emits = Refunded), deadline = "1m")]
    Pay,
    #[step(on = Paid, emits = Noted, no_undo)]
    Note,
    #[step(pivot, on = Noted, emits = Confirmed)]
    Confirm,
    #[step(on = Confirmed, emits = Shipped)]
    Ship,
    /// Also what a cancel and the deadline lead to.
    #[abort(on(Insufficient, Released, cancel, deadline), emits = Cancelled)]
    Cancel,
}

#[handler(step = PlaceOrder::Reserve)]
async fn reserve(On(order): On<Created>, _tx: Tx) -> Result<Reserved, Failure<Insufficient>> {
    if order.id == 0 {
        return Err(Failure::Reject(Insufficient { id: order.id }));
    }
    Ok(Reserved { id: order.id })
}

#[handler(undo = PlaceOrder::Reserve)]
async fn release(Undo(held): Undo<Reserved>, _tx: Tx) -> Result<Released, Failure> {
    Ok(Released { id: held.id })
}

#[event]
enum Charge {
    Paid(Paid),
    Declined(Declined),
}

#[handler(step = PlaceOrder::Pay, retry(max = 3, backoff = "1s..2s"))]
async fn pay(On(order): On<Reserved>, _work: Work) -> Result<Charge, Failure> {
    Ok(if order.id == 1 { Charge::Declined(Declined { id: 1 }) } else { Charge::Paid(Paid { id: order.id }) })
}

#[handler(undo = PlaceOrder::Pay)]
async fn refund(Undo(paid): Undo<Option<Paid>>) -> Result<Option<Refunded>, Failure> {
    Ok(paid.map(|paid| Refunded { id: paid.id }))
}

#[handler(step = self::PlaceOrder::Note)]
async fn note(On(paid): On<Paid>) -> Noted {
    Noted { id: paid.id }
}

#[handler(step = PlaceOrder::Confirm)]
async fn confirm(On(noted): On<Noted>, _tx: Tx) -> Result<Confirmed, Failure> {
    Ok(Confirmed { id: noted.id })
}

type Alias = PlaceOrder;

#[handler(step = Alias::Ship)]
async fn ship(On(confirmed): On<Confirmed>) -> Shipped {
    Shipped { id: confirmed.id }
}

#[event]
enum Refusal {
    Insufficient(Insufficient),
    Released(Released),
}

#[handler(step = PlaceOrder::Cancel)]
async fn cancel(On(refusal): On<Refusal>, _tx: Tx) -> Cancelled {
    match refusal {
        Refusal::Insufficient(Insufficient { id }) | Refusal::Released(Released { id }) => Cancelled { id },
    }
}

#[handler(step = PlaceOrder::Cancel)]
async fn expire(On(deadline): On<Deadline<PlaceOrder>>) -> Result<Cancelled, Failure> {
    Ok(Cancelled { id: deadline.key()? })
}

fn main() {
    let saga = PlaceOrder::definition();
    assert_eq!((saga.name.as_str(), saga.version, saga.key.as_str()), ("place-order", 3, "u64"));
    assert_eq!(saga.about, "Reserve the goods, take the payment, confirm; or give everything back.");
    assert_eq!(saga.deadline.as_secs(), 900);
    let steps: Vec<_> = saga.steps.iter().map(|step| (step.name.as_str(), step.on.name.as_str(), step.emits.name.as_str())).collect();
    let expected = [
        ("Reserve", "Created", "Reserved"),
        ("Pay", "Reserved", "Paid"),
        ("Note", "Paid", "Noted"),
        ("Confirm", "Noted", "Confirmed"),
        ("Ship", "Confirmed", "Shipped"),
    ];
    assert_eq!(steps, expected);
    assert_eq!(saga.steps[1].about, "Charges the customer.");
    assert_eq!(saga.steps[1].deadline.map(|deadline| deadline.as_secs()), Some(60));
    let undo = saga.steps[0].undo.as_ref().expect("there is one");
    assert_eq!(undo.on.iter().map(|on| on.name.as_str()).collect::<Vec<_>>(), ["Declined", "Cancelled"]);
    assert_eq!(undo.emits.topic, "stock");
    assert!(saga.steps[2].undo.is_none() && saga.pivot().name == "Confirm");
    assert!(saga.abort.cancel && saga.abort.deadline && saga.abort.name == "Cancel" && saga.abort.on.len() == 2);
    assert_eq!(PlaceOrder::events().len(), saga.events().len());

    let all = handlers![reserve, release, pay, refund, note, confirm, ship, cancel, expire];
    let roles: Vec<_> = all.iter().map(|handler| handler.role().expect("each has a part").step).collect();
    assert_eq!(roles, ["Reserve", "Reserve", "Pay", "Pay", "Note", "Confirm", "Ship", "Cancel", "Cancel"]);
    assert_eq!(all[1].accepts().iter().map(|event| event.name).collect::<Vec<_>>(), ["Declined", "Cancelled"]);
    assert!(all[8].accepts().is_empty() && all[8].role().expect("it has a part").deadline);
}
