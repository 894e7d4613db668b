//! An event with mistakes: it is still an event to the code around it.
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}
impl ::sagas::__private::Event for OrderCreated {
    type Key = ::sagas::__private::String;
    type Codec = ::sagas::__private::Json;
    const NAME: &'static str = "";
    const TOPIC: &'static str = "";
    const VERSION: u32 = 1;
    fn key(&self) -> ::sagas::__private::String {
        ::core::panic!()
    }
}
::core::compile_error! {
    "the name of a topic cannot contain ' ': Kafka allows the letters a-z and A-Z, digits, `.`, `_` and `-`"
}
::core::compile_error! {
    "`OrderCreated` has no field `oder_id` (did you mean `order_id`?); it has `order_id`"
}
pub enum OrderEvent {
    Created(OrderCreated),
    Unknown,
}
impl ::sagas::__private::EventSet for OrderEvent {
    fn types() -> ::sagas::__private::Vec<::sagas::__private::EventType> {
        ::core::panic!()
    }
}
impl ::sagas::__private::IntoPublished for OrderEvent {
    fn types() -> ::sagas::__private::Vec<::sagas::__private::EventType> {
        ::core::panic!()
    }
    fn encode(
        &self,
        _: &mut ::sagas::__private::Vec<::sagas::__private::Outgoing>,
    ) -> ::core::result::Result<(), ::sagas::__private::Fault> {
        ::core::panic!()
    }
}
#[automatically_derived]
impl<__S, const __STEP: usize> ::sagas::__private::saga::TriggerOf<__S, __STEP>
for OrderEvent
where
    OrderCreated: ::sagas::__private::saga::TriggerOf<__S, __STEP>,
{}
#[automatically_derived]
impl<__S, const __STEP: usize> ::sagas::__private::saga::OutcomeOf<__S, __STEP>
for OrderEvent
where
    OrderCreated: ::sagas::__private::saga::OutcomeOf<__S, __STEP>,
{
    const EMITS: bool = false
        || <OrderCreated as ::sagas::__private::saga::OutcomeOf<__S, __STEP>>::EMITS;
    const REJECTS: bool = false
        || <OrderCreated as ::sagas::__private::saga::OutcomeOf<__S, __STEP>>::REJECTS;
}
::core::compile_error! {
    "each variant of an enum of events holds exactly one event, `Unknown(..)`; `Unknown` holds 0 values"
}
