//! A message that fails after it has written loses its own writes only.

use std::time::Duration;

use sagas::{prelude::*, testing::Pump};

use crate::support::*;

async fn run(offends: fn(u32) -> bool, step: Step) -> (Database, Plan, Pump) {
    let database = sqlite().await;
    let plan = Plan::new(move |placed, meta| if offends(placed.number) && meta.attempt == 1 { step } else { Step::Done }).rows();
    let pump = Pump::of([service(&database, &plan).handlers(handlers![writing])]).start().await;
    for number in 0..40 {
        pump.publish(&placed(&format!("o{number}"), number)).await;
    }
    pump.run_until_quiet().await;
    (database, plan, pump)
}

fn written(rows: &[(String, i64)]) -> Vec<i64> {
    let mut numbers: Vec<_> = rows.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn one_offender_leaves_the_others_written_once() {
    let (database, _, pump) = run(|number| number == 20, Step::Retry).await;
    let expected: Vec<_> = (0..40).filter(|number| *number != 20).collect();
    assert_eq!(written(&rows(&database).await), expected);
    assert_eq!(pump.published::<Charged>().await.len(), 39);
    pump.advance(Duration::from_secs(1)).await;
    assert_eq!(written(&rows(&database).await), (0..40).collect::<Vec<_>>());
    assert_eq!(pump.published::<Charged>().await.len(), 40);
}

#[tokio::test]
async fn many_offenders_leave_the_others_written_once() {
    for step in [Step::Retry, Step::Panic] {
        let (database, plan, pump) = run(|number| number % 3 == 0, step).await;
        let expected: Vec<_> = (0..40).filter(|number| number % 3 != 0).collect();
        assert_eq!(written(&rows(&database).await), expected, "{step:?}");
        assert!(plan.calls().len() <= 80, "a message runs at most twice: {}", plan.calls().len());
        pump.advance(Duration::from_secs(1)).await;
        assert_eq!(written(&rows(&database).await), (0..40).collect::<Vec<_>>(), "{step:?}");
        assert_eq!(pump.published::<Charged>().await.len(), 40, "{step:?}");
    }
}

#[tokio::test]
async fn what_was_begun_by_the_handler_is_taken_back_too() {
    let database = sqlite().await;
    let plan = Plan::new(|placed, meta| match placed.number % 4 {
        0 if meta.attempt == 1 => Step::Retry,
        1 => Step::Reject,
        2 if meta.attempt == 1 => Step::Panic,
        _ => Step::Done,
    })
    .rows();
    let pump = Pump::of([service(&database, &plan).handlers(handlers![calling])]).start().await;
    for number in 0..16 {
        pump.publish(&placed(&format!("o{number}"), number)).await;
    }
    pump.run_until_quiet().await;
    assert_eq!(written(&rows(&database).await), [3, 7, 11, 15]);
    assert_eq!(pump.published::<Declined>().await.len(), 4);
    pump.advance(Duration::from_secs(1)).await;
    assert_eq!(written(&rows(&database).await), [0, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15]);
    assert_eq!(plan.calls().len(), 16 + 8);
}
