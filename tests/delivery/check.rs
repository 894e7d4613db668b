//! The checks of an app before it consumes.

use sagas::{App, Settings, prelude::*};

use crate::support::*;

#[tokio::test]
async fn every_problem_is_told_at_once() {
    let mut settings = Settings::default();
    settings.lanes = 0;
    settings.queue_bytes = 0;
    settings.begin_timeout_ms = 0;
    let app = App::new("shop").services([
        Service::new("payments", Database::memory()).handlers(handlers![bare, writing]),
        Service::new("payments", Database::memory()).state(Plan::done()).state(Plan::done()),
        Service::new("no name", Database::memory()).settings(settings),
    ]);
    let problems = app.check();
    let expected = [
        "`delivery::support::bare` takes State<delivery::support::Plan>",
        "`delivery::support::writing` takes State<delivery::support::Plan>",
        "two services are called `payments`",
        "two values of type `delivery::support::Plan` are shared",
        "`no name` cannot name a service",
        "the topic `no name.dlt` is called `no name.dlt` in the log",
        "the setting `lanes` is 0",
        "the setting `queue_bytes` is 0",
        "the setting `begin_timeout_ms` is 0",
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
    // A pump needs no listener.
    sagas::testing::Pump::of([service()]).start().await;
}

/// A handler with the name and the event of another.
mod elsewhere {
    use super::*;

    #[handler]
    pub async fn bare(On(_): On<Placed>) {}

    #[handler(on_dead = "hold")]
    pub async fn holding(On(_): On<Placed>) {}
}

#[test]
fn several_handlers_of_an_event_can_be_told_apart() {
    let problems = |handlers: &[sagas::handler::Handler]| {
        let service = Service::new("payments", Database::memory()).state(Plan::done()).handlers(handlers.to_vec());
        App::new("shop").service(service).check()
    };
    assert_eq!(problems(&handlers![bare, writing, calling]), [""; 0]);
    assert_eq!(
        problems(&handlers![bare, elsewhere::bare]),
        [
            "service `payments`: Placed is handled by `delivery::support::bare` and by `delivery::check::elsewhere::bare`; several \
             handlers of one event are distinguished by the names of their fns: give one another name"
        ]
    );
    assert_eq!(
        problems(&handlers![bare, writing, bare]),
        ["service `payments`: `delivery::support::bare` is given to it twice, and takes Placed twice; give it once"]
    );
    assert_eq!(
        problems(&handlers![bare, elsewhere::holding]),
        ["service `payments`: of the handlers of Placed, `delivery::check::elsewhere::holding` has `on_dead = \"hold\"` and \
          `delivery::support::bare` does not; a key is held for all of them or for none: write it for both, or for neither"]
    );
}
