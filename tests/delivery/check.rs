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

#[tokio::test]
async fn routes_that_nothing_serves_are_a_problem_but_in_a_pump() {
    let service = || Service::new("shop", Database::memory()).routes(|_| axum::Router::new()).also_under("/api/v1");
    let expected = "service `shop`: it has routes, and no listener that they are served on; give it one with `Service::listen(..)`, or mount \
                    the routes in an axum app of your own instead of giving them to the service";
    assert_eq!(App::new("shop").service(service()).check(), [expected]);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    assert_eq!(App::new("shop").service(service().listen(listener)).check(), [""; 0]);
    // A test of the services alone has no use for them.
    sagas::testing::Pump::of([service()]).start().await;
}
