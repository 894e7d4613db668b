//! What an operator can do about an instance, as HTTP requests to the service that tracks it.

use sagas::saga::{Chart, InstanceState};
use serde::Serialize;

use super::super::{tracked::Tracked, words::segment};

/// An HTTP request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: String,
    /// The template of its body: the operator, the reason, and the step.
    pub(super) body: String,
    /// The effect.
    pub(super) does: String,
}

/// The operations that are possible for `tracked`; none if it has ended.
pub(super) fn of(tracked: &Tracked, chart: Option<&Chart>) -> Vec<Operation> {
    let instance = &tracked.instance;
    if instance.ended_at.is_some() {
        return Vec::new();
    }
    let call = |verb: &str, body: String, does: String| {
        let (saga, id) = (segment(&instance.key.saga), segment(&instance.key.id));
        Operation { method: "POST", path: format!("/sagas/{saga}/{id}/{verb}"), body, does }
    };
    let mut operations = vec![call(
        "retry",
        r#"{"by":"…"}"#.to_owned(),
        instance.body.stopped.iter().filter(|stopped| !stopped.dead_letter.is_empty()).fold(
            "restarts its timers".to_owned(),
            |does, stopped| {
                format!("{does}, and returns dead letter {} to its handler in {}", stopped.dead_letter, stopped.service)
            },
        ),
    )];
    let expected = chart.map(|chart| instance.expected(&chart.definition)).unwrap_or_default();
    // The abort cannot be skipped.
    for next in expected.iter().filter(|next| chart.is_some_and(|chart| chart.definition.step(next.step).is_some())) {
        let body = format!(r#"{{"by":"…","reason":"…","step":{}}}"#, serde_json::Value::from(next.step));
        let what = if next.undo { "the undo of " } else { "" };
        operations.push(call(
            "skip",
            body,
            format!("declares {what}{} settled by hand: the instance no longer waits for it", next.step),
        ));
    }
    if instance.state == InstanceState::Running {
        operations.push(call("compensate", reason(), "aborts the instance: the steps that were done will be undone".to_owned()));
    }
    let end = match instance.state {
        InstanceState::Completing | InstanceState::Completed => "ends it by hand as completed, without what is missing",
        _ => "ends it by hand as aborted, without what is missing",
    };
    operations.push(call("complete", reason(), end.to_owned()));
    operations
}

fn reason() -> String {
    r#"{"by":"…","reason":"…"}"#.to_owned()
}
