//! The listener for operators that the services of an app share.

use std::net::SocketAddr;

use async_trait::async_trait;
use axum::Router;
use saga_core::runtime::{Server, ServerTask, Service, ServiceHandle};

use crate::{
    Operators, Problem,
    operators::surface,
    routes::{Unserved, served_to_operators},
    server::{HttpServer, hardened, task},
};

/// The operators of an app, as [`AppHttp`](crate::AppHttp) configures them.
#[derive(Default)]
pub(crate) struct AppOperators {
    pub(crate) operators: Option<Operators>,
}

#[async_trait]
impl Server for AppOperators {
    fn problems(&self, services: &[Service]) -> Vec<String> {
        let Some(operators) = &self.operators else { return Vec::new() };
        let listens = |service: &Service| match service.configured_server::<HttpServer>() {
            Some(http) => http.operators.is_some() || http.listener.is_some(),
            None => false,
        };
        operators.problems(services.iter().all(listens))
    }

    /// The services have addresses of their own for their clients.
    fn address(&self) -> Option<SocketAddr> {
        None
    }

    fn bind(&mut self, services: &mut [Service]) -> Result<(), Vec<String>> {
        let Some(operators) = &mut self.operators else { return Ok(()) };
        operators.bind().map_err(|problem| vec![problem])?;
        for service in services {
            service.configure_server(|http: &mut HttpServer| http.share(operators));
        }
        Ok(())
    }

    /// Serves the services that have no operators of their own, each under its name. The task belongs to the first of these services.
    async fn start(mut self: Box<Self>, services: &[ServiceHandle]) -> Result<Vec<ServerTask>, Vec<String>> {
        let Some(listener) = self.operators.as_mut().and_then(Operators::take_listener) else { return Ok(Vec::new()) };
        let sharing: Vec<_> = services.iter().filter(|service| surface(service).is_of_app).collect();
        let Some(first) = sharing.first() else { return Ok(Vec::new()) };
        let (mut all, mut places) = (Router::new(), Vec::new());
        for service in &sharing {
            let place = format!("/{}", service.name());
            let router = served_to_operators(service, &place).map_err(Unserved::problems)?;
            all = all.nest(&place, hardened(router, service, &listener)?);
            places.push(place);
        }
        let all = all.fallback(async move || {
            Problem::not_found(format!("there is nothing at this path; each service is under its name: {}", places.join(", ")))
        });
        Ok(vec![task(first, "operators", listener, all).helping()])
    }
}
