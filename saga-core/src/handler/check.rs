//! The rules about which arguments a handler can combine. `#[handler]` also checks them at compile time; this check is for handlers that
//! are built without the macro, and for a handler with its `exhausted` fn.

use super::Handler;
use crate::{extract::Requirements, message::EventType};

impl Handler {
    /// Returns the reasons why the handler cannot be called, one sentence each. It is empty for a valid handler.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let (path, taken) = (self.path(), &self.requirements);
        match taken.inputs.as_slice() {
            [_] => {}
            [] => problems.push(format!("`{path}` takes no event: give it an argument `On<E>` or `Batch<E>`")),
            inputs => problems.push(format!("`{path}` takes {} events: put their types into one enum of events", inputs.len())),
        }
        let raw = taken.accepts.iter().any(EventType::is_any);
        match self.options.topic {
            None if raw => problems.push(format!(
                "`{path}` takes records as they are, and names no topic: write `#[handler(topic = \"..\")]`"
            )),
            Some(topic) if !raw => problems.push(format!(
                "`{path}` names the topic `{topic}`, and the definition of an event has its topic: take `On<Raw>`, or remove `topic`"
            )),
            _ => {}
        }
        if taken.tx && taken.work {
            problems.push(format!("`{path}` takes `Tx` and `Work`: take `Work` alone, and begin the transaction with it"));
        }
        if taken.batch && taken.meta {
            problems.push(format!("`{path}` takes `Batch` and `Meta`: each event of a batch comes with its own `Meta`"));
        }
        if let Some((exhausted, _)) = &self.exhausted {
            problems.extend(mismatch(taken, exhausted).map(|problem| format!("the `exhausted` fn of `{path}` {problem}")));
        }
        problems
    }
}

/// Returns why `exhausted` cannot be called with the input of a handler that takes `taken`.
fn mismatch(taken: &Requirements, exhausted: &Requirements) -> Option<String> {
    if exhausted.inputs != taken.inputs {
        let names = |of: &Requirements| of.inputs.iter().map(|(_, name)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        return Some(match exhausted.inputs.as_slice() {
            [] => "takes no event: give it an argument `On<E>` with the handler's type".to_owned(),
            _ => format!("takes {}, the handler {}: both take the same type", names(exhausted), names(taken)),
        });
    }
    exhausted.work.then(|| "takes `Work`: it runs in the transaction that dead-letters, so take `Tx`".to_owned())
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use crate::{
        extract::{Batch, Meta, On, Work},
        handler::{Handler, HandlerOptions},
        message::{Event, Json, Raw},
        store::Tx,
    };

    #[derive(Serialize, Deserialize)]
    struct Placed(u64);
    #[derive(Serialize, Deserialize)]
    struct Shipped(u64);

    macro_rules! events {
        ($($event:ident)+) => {
            $(impl Event for $event {
                type Key = u64;
                type Codec = Json;
                const NAME: &'static str = stringify!($event);
                const TOPIC: &'static str = "orders";
                const VERSION: u32 = 1;
                fn key(&self) -> String {
                    self.0.to_string()
                }
            })+
        };
    }

    events!(Placed Shipped);

    const OPTIONS: HandlerOptions = HandlerOptions::new("handle", "shop");

    #[test]
    fn a_handler_that_can_be_called_has_no_problems() {
        let handler = Handler::new(OPTIONS, async |_: On<Placed>, _: Tx, _: Meta| ());
        assert!(handler.exhausted(async |_: On<Placed>, _: Tx| ()).problems().is_empty());
        let batch = Handler::new(OPTIONS, async |_: Batch<Placed>| ());
        assert!(batch.exhausted(async |_: On<Placed>, _: Meta| ()).problems().is_empty());
    }

    #[test]
    fn arguments_that_exclude_each_other_are_told() {
        let problems = |handler: Handler| handler.problems().join("; ");
        assert!(problems(Handler::new(OPTIONS, async |_: Tx| ())).starts_with("`shop::handle` takes no event"));
        let two = Handler::new(OPTIONS, async |_: On<Placed>, _: On<Shipped>| ());
        assert!(problems(two).starts_with("`shop::handle` takes 2 events"));
        let both = Handler::new(OPTIONS, async |_: On<Placed>, _: Tx, _: Work| ());
        assert!(problems(both).starts_with("`shop::handle` takes `Tx` and `Work`"));
        let one_meta = Handler::new(OPTIONS, async |_: Batch<Placed>, _: Meta| ());
        assert!(problems(one_meta).starts_with("`shop::handle` takes `Batch` and `Meta`"));
    }

    #[test]
    fn the_topic_of_records_that_are_taken_as_they_are_is_said_and_of_no_others() {
        let problems = |handler: Handler| handler.problems().join("; ");
        let taking = |options| Handler::new(options, async |_: On<Raw>, _: Meta| ());
        assert_eq!(problems(taking(OPTIONS.topic("transfers"))), "");
        assert_eq!(taking(OPTIONS.topic("transfers")).accepts()[0].topic, "transfers");
        assert!(problems(taking(OPTIONS)).starts_with("`shop::handle` takes records as they are, and names no topic"));
        let event = Handler::new(OPTIONS.topic("orders"), async |_: On<Placed>| ());
        assert!(problems(event).starts_with("`shop::handle` names the topic `orders`"));
    }

    #[test]
    fn the_exhausted_fn_takes_what_the_handler_takes() {
        let handler = || Handler::new(OPTIONS, async |_: On<Placed>| ());
        let problems = |handler: Handler| handler.problems().join("; ");
        let other = problems(handler().exhausted(async |_: On<Shipped>| ()));
        assert!(other.contains("Shipped`, the handler `") && other.ends_with("Placed`: both take the same type"), "{other}");
        assert!(problems(handler().exhausted(async |_: Tx| ())).contains("takes no event"));
        assert!(problems(handler().exhausted(async |_: On<Placed>, _: Work| ())).contains("takes `Work`"));
    }
}
