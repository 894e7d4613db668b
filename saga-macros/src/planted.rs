//! Deliberate mistakes in the saga of the example: each is reported at its place, in terms of the saga.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Item, Meta};

/// The saga of the example.
fn place_order() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ecommerce/src/contracts/place_order.rs");
    fs::read_to_string(path).unwrap()
}

/// The mistakes that `#[saga]` reports for `source`.
fn mistakes(source: &str) -> Vec<String> {
    let file = syn::parse_file(source).unwrap();
    let mut saga = file.items.into_iter().find_map(|item| if let Item::Enum(saga) = item { Some(saga) } else { None }).unwrap();
    let at = saga.attrs.iter().position(|attribute| attribute.path().is_ident("saga")).unwrap();
    let Meta::List(options) = saga.attrs.remove(at).meta else { panic!("the saga has options") };
    said(crate::saga::run(options.tokens, saga.into_token_stream()))
}

/// The texts of the `compile_error!`s in `expanded`.
fn said(expanded: TokenStream) -> Vec<String> {
    let items = syn::parse2::<syn::File>(expanded).unwrap().items;
    let errors = items.into_iter().filter_map(|item| match item {
        Item::Macro(call) if call.mac.path.segments.last().is_some_and(|name| name.ident == "compile_error") => {
            Some(call.mac.parse_body::<syn::LitStr>().unwrap().value())
        }
        _ => None,
    });
    errors.collect()
}

#[test]
fn the_saga_itself_has_none() {
    assert_eq!(mistakes(&place_order()), [""; 0]);
}

#[test]
fn each_is_reported_once_and_in_words_of_the_saga() {
    let planted = [
        (
            "a step without an undo",
            ",\n           undo(on = OrderCancelled, emits = PaymentRefunded)",
            "",
            "`ProcessPayment` commits before the pivot, and nothing undoes it: add `undo(on = .., emits = ..)`",
        ),
        (
            "a refusal of the pivot",
            "emits = OrderConfirmed)]",
            "emits = OrderConfirmed, rejects = OrderShipped)]",
            "`ConfirmOrder` is the pivot, and its commit decides that the saga succeeds: it cannot be refused",
        ),
        ("no pivot", "pivot, ", "", "`PlaceOrder` has no pivot: write `pivot` in the step whose commit decides"),
        (
            "a misspelt event",
            "on = PaymentProcessed",
            "on = PaymentProccessed",
            "nothing in this saga publishes `PaymentProccessed` (did you mean `PaymentProcessed`?)",
        ),
        (
            "a refusal that leads nowhere",
            "abort(on(InventoryInsufficient, ",
            "abort(on(",
            "a refusal of `ReserveInventory` leads to no end: add `InventoryInsufficient` to the `on` of the abort",
        ),
        (
            "goods that stay away after a cancel",
            "undo(on(PaymentFailed, OrderCancelled), emits = InventoryReleased)",
            "undo(on = PaymentFailed, emits = InventoryReleased)",
            "when the saga is aborted on a cancel or the deadline after `ReserveInventory`, nothing undoes `ReserveInventory`",
        ),
        (
            "goods that stay away after a declined payment",
            "undo(on(PaymentFailed, OrderCancelled), emits = InventoryReleased)",
            "undo(on = OrderCancelled, emits = InventoryReleased)",
            "when `ProcessPayment` is refused, nothing undoes `ReserveInventory`: add `PaymentFailed` to the `on` of its `undo`",
        ),
        (
            "a loop",
            "on = OrderCreated, emits = InventoryReserved",
            "on = PaymentProcessed, emits = InventoryReserved",
            "`ReserveInventory` and `ProcessPayment` wait for each other, so that none begins",
        ),
        (
            "an event with two meanings",
            "rejects = PaymentFailed",
            "rejects = InventoryInsufficient",
            "`InventoryInsufficient` already means that `ReserveInventory` was refused",
        ),
        (
            "another end",
            "completes = OrderConfirmed",
            "completes = PaymentProcessed",
            "`PaymentProcessed` is emitted by `ProcessPayment`, before the pivot `ConfirmOrder`",
        ),
        ("no deadline", ", deadline = \"15m\"", "", "a saga needs `deadline`: add `deadline = ..`"),
    ];
    let saga = place_order();
    for (what, right, wrong, expected) in planted {
        assert!(saga.contains(right), "{what}: the saga no longer has `{right}`");
        let said = mistakes(&saga.replacen(right, wrong, 1));
        assert!(said.iter().any(|message| message.starts_with(expected)), "{what}: {said:#?}");
        // An event that is published with two meanings is missing for one of them.
        let most = if what == "an event with two meanings" { 2 } else { 1 };
        assert!(said.len() <= most, "{what} is reported more than once: {said:#?}");
    }
}

#[test]
fn all_are_reported_at_once() {
    let saga = place_order().replacen("\"15m\"", "\"soon\"", 1).replacen("on = PaymentProcessed", "on = PaymentProccessed", 1);
    let said = mistakes(&saga);
    assert_eq!(said.len(), 2, "{said:#?}");
}
