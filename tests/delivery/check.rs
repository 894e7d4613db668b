//! What an app finds wrong with itself before it consumes anything.

use sagas::{App, Settings, prelude::*};

use crate::support::*;

#[tokio::test]
async fn every_problem_is_told_at_once() {
    let mut settings = Settings::default();
    settings.lanes = 0;
    settings.queue_bytes = 0;
    let app = App::new("shop").services([
        Service::new("payments", Database::memory()).handlers(handlers![bare, writing]),
        Service::new("payments", Database::memory()).state(Plan::done()).state(Plan::done()),
        Service::new("no name", Database::memory()).settings(settings),
    ]);
    let problems = app.check();
    let expected = [
        "Placed is handled by",
        "`delivery::support::bare` takes State<delivery::support::Plan>",
        "`delivery::support::writing` takes State<delivery::support::Plan>",
        "two services are called `payments`",
        "two values of type `delivery::support::Plan` are shared",
        "`no name` cannot name a service",
        "the setting `lanes` is 0",
        "the setting `queue_bytes` is 0",
    ];
    for part in expected {
        assert_eq!(problems.iter().filter(|problem| problem.contains(part)).count(), 1, "{part}: {problems:#?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
}
