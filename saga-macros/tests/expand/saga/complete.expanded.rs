//! A saga with every part.
use sagas::prelude::*;
/// Reserve the goods, take the payment, confirm; or give everything back.
pub enum PlaceOrder {
    /// Puts the goods aside.
    Reserve,
    Confirm,
    Cancel,
}
#[automatically_derived]
impl ::sagas::__private::saga::Saga for PlaceOrder {
    type Key = u64;
    type Starts = Created;
    type Completes = Confirmed;
    type Aborts = Cancelled;
    const NAME: &'static str = "PlaceOrder";
    const VERSION: u32 = 2u32;
    fn definition() -> ::sagas::__private::saga::Definition {
        #[allow(unused_imports)]
        use ::sagas::__private::saga::{Known, Unknown as _};
        ::sagas::__private::saga::Definition {
            name: "PlaceOrder".into(),
            version: 2u32,
            about: "Reserve the goods, take the payment, confirm; or give everything back."
                .into(),
            key: "u64".into(),
            starts: ::sagas::__private::saga::event(Known::<Created>::EVENT),
            completes: ::sagas::__private::saga::event(Known::<Confirmed>::EVENT),
            aborts: ::sagas::__private::saga::event(Known::<Cancelled>::EVENT),
            deadline: ::sagas::__private::Duration::from_millis(900000u64),
            steps: ::sagas::__private::Vec::from([
                ::sagas::__private::saga::Step {
                    name: "Reserve".into(),
                    about: "Puts the goods aside.".into(),
                    on: ::sagas::__private::saga::event(Known::<Created>::EVENT),
                    emits: ::sagas::__private::saga::event(Known::<Reserved>::EVENT),
                    rejects: ::core::option::Option::Some(
                        ::sagas::__private::saga::event(Known::<Insufficient>::EVENT),
                    ),
                    undo: ::core::option::Option::Some(::sagas::__private::saga::Undo {
                        on: ::sagas::__private::Vec::from([
                            ::sagas::__private::saga::event(Known::<Cancelled>::EVENT),
                        ]),
                        emits: ::sagas::__private::saga::event(Known::<Released>::EVENT),
                    }),
                    pivot: false,
                    deadline: ::core::option::Option::Some(
                        ::sagas::__private::Duration::from_millis(60000u64),
                    ),
                },
                ::sagas::__private::saga::Step {
                    name: "Confirm".into(),
                    about: "".into(),
                    on: ::sagas::__private::saga::event(Known::<Reserved>::EVENT),
                    emits: ::sagas::__private::saga::event(Known::<Confirmed>::EVENT),
                    rejects: ::core::option::Option::None,
                    undo: ::core::option::Option::None,
                    pivot: true,
                    deadline: ::core::option::Option::None,
                },
            ]),
            abort: ::sagas::__private::saga::Abort {
                name: "Cancel".into(),
                about: "".into(),
                on: ::sagas::__private::Vec::from([
                    ::sagas::__private::saga::event(Known::<Insufficient>::EVENT),
                ]),
                cancel: true,
                deadline: true,
                emits: ::sagas::__private::saga::event(Known::<Cancelled>::EVENT),
            },
            former: ::sagas::__private::saga::former(
                &[
                    Known::<Created>::EVENT,
                    Known::<Reserved>::EVENT,
                    Known::<Insufficient>::EVENT,
                    Known::<Released>::EVENT,
                    Known::<Confirmed>::EVENT,
                    Known::<Cancelled>::EVENT,
                ],
            ),
        }
    }
    fn events() -> ::sagas::__private::Vec<::sagas::__private::EventType> {
        #[allow(unused_imports)]
        use ::sagas::__private::saga::{Known, Unknown as _};
        ::sagas::__private::saga::types(
            &[
                Known::<Created>::EVENT,
                Known::<Reserved>::EVENT,
                Known::<Insufficient>::EVENT,
                Known::<Released>::EVENT,
                Known::<Confirmed>::EVENT,
                Known::<Cancelled>::EVENT,
            ],
        )
    }
    fn step_name(&self) -> &'static str {
        match self {
            Self::Reserve => "Reserve",
            Self::Confirm => "Confirm",
            Self::Cancel => "Cancel",
        }
    }
}
#[automatically_derived]
impl ::sagas::__private::saga::StepAt<{ PlaceOrder::Reserve as usize }> for PlaceOrder {
    const STEP_NAME: &'static str = "Reserve";
    const KIND: ::sagas::__private::saga::RoleKind = ::sagas::__private::saga::RoleKind::Step;
    const REJECTS: bool = true;
}
#[automatically_derived]
impl ::sagas::__private::saga::TriggerOf<PlaceOrder, { PlaceOrder::Reserve as usize }>
for Created {}
#[automatically_derived]
impl ::sagas::__private::saga::OutcomeOf<PlaceOrder, { PlaceOrder::Reserve as usize }>
for Reserved {
    const EMITS: bool = true;
    const REJECTS: bool = false;
}
#[automatically_derived]
impl ::sagas::__private::saga::OutcomeOf<PlaceOrder, { PlaceOrder::Reserve as usize }>
for Insufficient {
    const EMITS: bool = false;
    const REJECTS: bool = true;
}
#[automatically_derived]
impl ::sagas::__private::saga::UndoAt<{ PlaceOrder::Reserve as usize }> for PlaceOrder {
    fn triggers() -> ::sagas::__private::Vec<::sagas::__private::EventType> {
        #[allow(unused_imports)]
        use ::sagas::__private::saga::{Known, Unknown as _};
        ::sagas::__private::saga::types(&[Known::<Cancelled>::EVENT])
    }
}
#[automatically_derived]
impl ::sagas::__private::saga::UndoneFrom<PlaceOrder, { PlaceOrder::Reserve as usize }>
for Reserved {}
#[automatically_derived]
impl ::sagas::__private::saga::UndoOutcomeOf<
    PlaceOrder,
    { PlaceOrder::Reserve as usize },
> for Released {}
#[automatically_derived]
impl ::sagas::__private::saga::StepAt<{ PlaceOrder::Confirm as usize }> for PlaceOrder {
    const STEP_NAME: &'static str = "Confirm";
    const KIND: ::sagas::__private::saga::RoleKind = ::sagas::__private::saga::RoleKind::Pivot;
    const REJECTS: bool = false;
}
#[automatically_derived]
impl ::sagas::__private::saga::TriggerOf<PlaceOrder, { PlaceOrder::Confirm as usize }>
for Reserved {}
#[automatically_derived]
impl ::sagas::__private::saga::OutcomeOf<PlaceOrder, { PlaceOrder::Confirm as usize }>
for Confirmed {
    const EMITS: bool = true;
    const REJECTS: bool = false;
}
#[automatically_derived]
impl ::sagas::__private::saga::StepAt<{ PlaceOrder::Cancel as usize }> for PlaceOrder {
    const STEP_NAME: &'static str = "Cancel";
    const KIND: ::sagas::__private::saga::RoleKind = ::sagas::__private::saga::RoleKind::Abort;
    const REJECTS: bool = false;
}
#[automatically_derived]
impl ::sagas::__private::saga::TriggerOf<PlaceOrder, { PlaceOrder::Cancel as usize }>
for Insufficient {}
#[automatically_derived]
impl ::sagas::__private::saga::TriggerOf<PlaceOrder, { PlaceOrder::Cancel as usize }>
for ::sagas::__private::saga::Deadline<PlaceOrder> {
    const DEADLINE: bool = true;
}
#[automatically_derived]
impl ::sagas::__private::saga::OutcomeOf<PlaceOrder, { PlaceOrder::Cancel as usize }>
for Cancelled {
    const EMITS: bool = true;
    const REJECTS: bool = false;
}
const _: () = {
    #[allow(dead_code)]
    fn share_the_key() {
        ::sagas::__private::saga::keyed_by::<u64, Created>();
        ::sagas::__private::saga::keyed_by::<u64, Reserved>();
        ::sagas::__private::saga::keyed_by::<u64, Insufficient>();
        ::sagas::__private::saga::keyed_by::<u64, Released>();
        ::sagas::__private::saga::keyed_by::<u64, Confirmed>();
        ::sagas::__private::saga::keyed_by::<u64, Cancelled>();
    }
    #[allow(unused_imports)]
    use ::sagas::__private::saga::{Known, Unknown as _};
    ::sagas::__private::saga::one_path_each(
        &[
            Known::<Created>::EVENT,
            Known::<Reserved>::EVENT,
            Known::<Insufficient>::EVENT,
            Known::<Released>::EVENT,
            Known::<Confirmed>::EVENT,
            Known::<Cancelled>::EVENT,
        ],
    );
};
async fn reserve(On(order): On<Created>) -> Result<Reserved, Failure<Insufficient>> {
    Ok(Reserved { id: order.id })
}
#[doc(hidden)]
#[allow(non_camel_case_types, missing_debug_implementations)]
struct reserve {}
impl ::sagas::__private::HandlerDef for reserve {
    fn handler() -> ::sagas::__private::Handler {
        ::sagas::__private::saga::claim_step::<
            PlaceOrder,
            Created,
            Result<Reserved, Failure<Insufficient>>,
            { PlaceOrder::Reserve as usize },
        >(
            ::sagas::__private::handler_1::<
                On<Created>,
                Result<Reserved, Failure<Insufficient>>,
                _,
            >(
                ::sagas::__private::HandlerOptions::new(
                    "reserve",
                    ::core::module_path!(),
                ),
                reserve,
            ),
        )
    }
}
const _: () = {
    #[allow(unused_imports)]
    use ::sagas::__private::{NoExtractor as _, check_arguments};
    check_arguments(&[::sagas::__private::Argument::<On<Created>>::KIND], false)
};
const _: () = {
    #[allow(unused_imports)]
    use ::sagas::__private::saga::{Answer, NoAnswer as _, check_answer};
    check_answer(
        Answer::<
            PlaceOrder,
            Result<Reserved, Failure<Insufficient>>,
            { PlaceOrder::Reserve as usize },
        >::CAN,
    )
};
async fn release(Undo(held): Undo<Reserved>) -> Released {
    Released { id: held.id }
}
#[doc(hidden)]
#[allow(non_camel_case_types, missing_debug_implementations)]
struct release {}
impl ::sagas::__private::HandlerDef for release {
    fn handler() -> ::sagas::__private::Handler {
        ::sagas::__private::saga::claim_undo::<
            PlaceOrder,
            Reserved,
            Released,
            { PlaceOrder::Reserve as usize },
        >(
            ::sagas::__private::handler_1::<
                Undo<Reserved>,
                Released,
                _,
            >(
                ::sagas::__private::HandlerOptions::new(
                    "release",
                    ::core::module_path!(),
                ),
                release,
            ),
        )
    }
}
const _: () = {
    #[allow(unused_imports)]
    use ::sagas::__private::{NoExtractor as _, check_arguments};
    check_arguments(&[::sagas::__private::Argument::<Undo<Reserved>>::KIND], false)
};
mod events {
    use sagas::prelude::*;
    use serde::{Deserialize, Serialize};
    macro_rules! events {
        ($($name:ident)+) => {
            $(#[event(topic = "orders", key = id)] #[derive(Debug, Clone, Serialize,
            Deserialize)] pub struct $name { pub id : u64, })+
        };
    }
    events!(Created Reserved Insufficient Released Confirmed Cancelled);
}
use events::*;
fn main() {
    assert_eq!(PlaceOrder::definition().steps.len(), 2);
    assert_eq!(handlers![reserve, release] .len(), 2);
}
