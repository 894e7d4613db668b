//! A server of a user, attached by the port `sagas::port::server` only: a TCP server that writes the names of the services that it serves.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use sagas::{
    Handle, StartError,
    port::server::{Server, ServerTask, Shutdown},
    prelude::*,
    testing::{
        Pump,
        faulty::{FaultyStore, StoreFaults},
    },
    time::Clock,
    transport::memory::Memory,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What happened, in its order.
type Happened = Arc<Mutex<Vec<&'static str>>>;

/// Writes a greeting to each connection, and closes it when the service stops.
struct Greeter {
    address: SocketAddr,
    greeting: &'static str,
    listener: Option<TcpListener>,
    /// How many tasks panic before one serves.
    panics: usize,
    happened: Happened,
}

/// What the services of a greeter share by its port.
struct Greeted(&'static str);

impl Greeter {
    fn new(greeting: &'static str) -> Self {
        let address = ([127, 0, 0, 1], 0).into();
        Self { address, greeting, listener: None, panics: 0, happened: Happened::default() }
    }
}

#[async_trait]
impl Server for Greeter {
    fn problems(&self, services: &[Service]) -> Vec<String> {
        assert!(!services.is_empty());
        let none = || "it has no greeting; give it one".to_owned();
        self.greeting.is_empty().then(none).into_iter().collect()
    }

    fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map_or(Some(self.address), |listener| listener.local_addr().ok())
    }

    fn bind(&mut self, services: &mut [Service]) -> Result<(), Vec<String>> {
        self.happened.lock().unwrap().push("bind");
        let bound = TcpListener::bind(self.address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        self.listener = Some(bound.map_err(|error| vec![format!("{} cannot be opened: {error}", self.address)])?);
        services.iter_mut().for_each(|service| service.set_state(Greeted(self.greeting)));
        Ok(())
    }

    async fn start(mut self: Box<Self>, services: &[ServiceHandle]) -> Result<Vec<ServerTask>, Vec<String>> {
        self.happened.lock().unwrap().push("start");
        let listener = Arc::new(Mutex::new(self.listener.take()));
        let names = services.iter().map(|service| service.name()).collect::<Vec<_>>().join(" and ");
        let greeting = format!("{} from {names}", services[0].state::<Greeted>().unwrap().0);
        let (calls, panics) = (AtomicUsize::new(0), self.panics);
        let serve = move |stop: Shutdown| {
            let panics = calls.fetch_add(1, Ordering::SeqCst) < panics;
            let (listener, greeting) = (listener.clone(), greeting.clone());
            async move {
                assert!(!panics, "a bug in the server");
                let open = listener.lock().unwrap().take().unwrap();
                tokio::select! {
                    served = greet(open, &greeting) => served.unwrap(),
                    () = stop.requested() => {}
                }
            }
        };
        Ok(vec![ServerTask::new(&services[0], "greeter", serve)])
    }
}

async fn greet(listener: TcpListener, greeting: &str) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut client, _) = listener.accept().await?;
        client.write_all(greeting.as_bytes()).await?;
    }
}

async fn greeted(address: SocketAddr) -> String {
    let mut greeting = String::new();
    TcpStream::connect(address).await.unwrap().read_to_string(&mut greeting).await.unwrap();
    greeting
}

fn shop() -> Service {
    Service::new("shop", Database::memory())
}

async fn start(app: App) -> Result<Handle, StartError> {
    app.start(Arc::new(Memory::new())).await
}

#[tokio::test]
async fn a_server_serves_from_the_start_of_its_service_to_the_stop() {
    let app = start(App::new("test").service(shop().server(Greeter::new("hello")))).await.unwrap();
    let address = app.address("shop").unwrap();
    assert_ne!(address.port(), 0, "the address is the one that it listens on");
    assert_eq!(greeted(address).await, "hello from shop");
    assert!(app.stop().await, "its task has ended");
    TcpStream::connect(address).await.expect_err("nothing listens any more");
}

#[tokio::test]
async fn listeners_are_bound_before_a_database_is_used() {
    let happened = Happened::default();
    let store = FaultyStore::new(&Database::memory(), StoreFaults::default(), 1, Clock::system());
    let calls = happened.clone();
    store.script(move |_| {
        let mut happened = calls.lock().unwrap();
        if happened.last() != Some(&"database") {
            happened.push("database");
        }
        None
    });
    let greeter = Greeter { happened: happened.clone(), ..Greeter::new("hello") };
    let app = start(App::new("test").service(Service::new("shop", store.database()).server(greeter))).await.unwrap();
    let first = happened.lock().unwrap()[..3].to_vec();
    assert_eq!(first, ["bind", "database", "start"]);
    assert!(app.stop().await);
}

#[tokio::test]
async fn a_problem_of_a_server_refuses_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let happened = Happened::default();
    let without = || Greeter { happened: happened.clone(), ..Greeter::new("") };
    let app = || App::new("test").service(shop().server(without())).server(without());
    let problems = ["service `shop`: it has no greeting; give it one", "the app: it has no greeting; give it one"];
    assert_eq!(app().check(), problems);
    assert_eq!(start(app()).await.unwrap_err().problems, problems);
    assert!(happened.lock().unwrap().is_empty(), "nothing was bound");

    let of_service = Greeter { address, ..Greeter::new("hello") };
    let of_app = Greeter { address, ..Greeter::new("hello") };
    let problems = start(App::new("test").service(shop().server(of_service)).server(of_app)).await.unwrap_err().problems;
    let at = format!("{address} cannot be opened: ");
    assert!(problems[0].starts_with(&format!("the app: {at}")), "{problems:?}");
    assert!(problems[1].starts_with(&format!("service `shop`: {at}")), "{problems:?}");
}

#[tokio::test]
async fn a_server_of_the_app_serves_all_of_its_services() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let app = App::new("test").service(shop()).service(Service::new("bank", Database::memory()));
    let app = start(app.server(Greeter { address, ..Greeter::new("hello") })).await.unwrap();
    assert_eq!(app.address("shop"), None, "the service itself has no server");
    assert_eq!(greeted(address).await, "hello from bank and shop");
    assert!(app.stop().await);
    TcpStream::connect(address).await.expect_err("nothing listens any more");
}

#[tokio::test]
async fn a_server_that_panics_is_started_again() {
    let greeter = Greeter { panics: 1, ..Greeter::new("hello") };
    let app = start(App::new("test").service(shop().server(greeter))).await.unwrap();
    assert_eq!(greeted(app.address("shop").unwrap()).await, "hello from shop");
    let metrics = app.service("shop").unwrap().metrics().render();
    assert!(metrics.contains("sagas_task_panics_total{service=\"shop\",task=\"greeter\"} 1"), "{metrics}");
    assert!(app.stop().await);
}

#[tokio::test]
async fn a_server_is_found_by_its_type_and_configured_once() {
    /// A server without a listener, as one is that its user has not finished to configure.
    #[derive(Default)]
    struct Unfinished {
        changes: usize,
    }

    #[async_trait]
    impl Server for Unfinished {
        fn address(&self) -> Option<SocketAddr> {
            None
        }

        fn bind(&mut self, _: &mut [Service]) -> Result<(), Vec<String>> {
            Err(vec!["it is not finished".to_owned()])
        }

        async fn start(self: Box<Self>, _: &[ServiceHandle]) -> Result<Vec<ServerTask>, Vec<String>> {
            Ok(Vec::new())
        }
    }

    let configured = || {
        let mut service = shop().server(Greeter::new("hello"));
        for _ in 0..2 {
            service.configure_server(|server: &mut Unfinished| server.changes += 1);
        }
        service
    };
    assert_eq!(configured().configured_server::<Unfinished>().unwrap().changes, 2);
    assert_eq!(start(App::new("test").service(configured())).await.unwrap_err().problems, ["service `shop`: it is not finished"]);
    // No client could reach it, so a pump leaves it out, and only it.
    let pump = Pump::of([configured()]).start().await;
    assert!(pump.service("shop").state::<Greeted>().is_some());
    pump.stop().await;
}
