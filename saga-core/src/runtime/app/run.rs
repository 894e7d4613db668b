//! Runs an app until the process receives a signal to stop.

use std::{pin::pin, sync::Arc};

use super::{App, Handle, StartError};
use crate::{runtime::stop_signal, transport::Transport};

/// How long [`App::run`] waits for the transport to close after the services have stopped.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

impl App {
    /// Runs the services on `transport` until the process receives SIGTERM or Ctrl-C ([`stop_signal`]), then stops them and closes the
    /// transport.
    ///
    /// A signal during the start cancels the start. A second signal ends the stop early. Neither loses data.
    ///
    /// Returns `true` if everything was finished. `false` means that work was left for the next start, because the stop took longer than
    /// [`stop_timeout_ms`](crate::settings::Settings::stop_timeout_ms) or a second signal ended it; a log line at level `WARN` names what
    /// was left. Return a failure code from `main` then, so that the supervisor of the process can see it.
    ///
    /// # Errors
    /// The same as [`start`](Self::start).
    pub async fn run(self, transport: Arc<dyn Transport>) -> Result<bool, StartError> {
        self.run_until(transport, stop_signal(), stop_signal).await
    }

    /// Like [`run`](Self::run), with the signals as parameters: the first, and what begins to wait for the second.
    async fn run_until<Second: Future<Output = ()> + Send>(
        self,
        transport: Arc<dyn Transport>,
        first_signal: impl Future<Output = ()> + Send,
        wait_for_second: impl FnOnce() -> Second + Send,
    ) -> Result<bool, StartError> {
        let mut first_signal = pin!(first_signal);
        let started = tokio::select! {
            started = self.start(transport.clone()) => Some(started?),
            () = &mut first_signal => None,
        };
        if started.is_some() {
            first_signal.await;
        }
        let second_signal = wait_for_second();
        let cores = started.as_ref().map(Handle::cores).unwrap_or_default();
        let ending = async {
            let in_time = match started {
                Some(handle) => handle.stop().await,
                None => true,
            };
            let closed = tokio::time::timeout(CLOSE_TIMEOUT, transport.close()).await.is_ok();
            if !closed {
                tracing::warn!(
                    "the transport was not closed within {CLOSE_TIMEOUT:?}; unfinished work is done after the next start"
                );
            }
            in_time && closed
        };
        let interrupted = async {
            second_signal.await;
            // The unfinished work is read before `ending` is dropped, which ends the tasks.
            let left: Vec<_> = cores.iter().filter_map(|core| Some((&*core.name, core.unfinished()?))).collect();
            for (service, left) in &left {
                tracing::warn!(service, left, "a second signal has ended the stop; what is left is done after the next start");
            }
            if left.is_empty() {
                tracing::warn!(open = "requests or connections", "a second signal has ended the stop; all messages are done");
            }
        };
        tokio::select! {
            in_time = ending => Ok(in_time),
            () = interrupted => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        io,
        net::SocketAddr,
        sync::{Mutex, PoisonError},
    };

    use async_trait::async_trait;
    use tokio::sync::{Notify, oneshot};

    use super::*;
    use crate::{
        runtime::{Server, ServerTask, Service, ServiceHandle},
        store::Database,
        transport::memory::Memory,
    };

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A server in the middle of a request that does not end.
    struct Stuck(Arc<Notify>);

    #[async_trait]
    impl Server for Stuck {
        fn address(&self) -> Option<SocketAddr> {
            None
        }

        fn bind(&mut self, _: &mut [Service]) -> Result<(), Vec<String>> {
            Ok(())
        }

        async fn start(self: Box<Self>, services: &[ServiceHandle]) -> Result<Vec<ServerTask>, Vec<String>> {
            let serve = move |_| {
                self.0.notify_one();
                pending()
            };
            Ok(vec![ServerTask::new(&services[0], "stuck", serve)])
        }
    }

    #[tokio::test]
    async fn a_second_signal_ends_the_stop_and_the_log_names_what_is_left() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        let subscriber = tracing::Dispatch::new(subscriber.with_max_level(tracing::Level::WARN).finish());
        // With a single dispatcher, a line can be cached as disabled by another test.
        let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        let _guard = tracing::dispatcher::set_default(&subscriber);

        let asked = Arc::new(Notify::new());
        let service = Service::new("shop", Database::memory()).server(Stuck(asked.clone()));
        let (tell, told) = oneshot::channel();
        let told = async { told.await.expect("the first signal") };
        let running = App::new("test").service(service).run_until(Arc::new(Memory::new()), told, || ready(()));
        let client = async {
            asked.notified().await;
            tell.send(()).expect("it runs");
        };
        let (in_time, ()) = tokio::join!(running, client);
        assert!(!in_time.expect("it has started"), "work was left");
        let text = String::from_utf8(lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("text");
        let line = text.lines().find(|line| line.contains("a second signal has ended the stop")).expect(&text);
        assert!(line.contains(" WARN ") && line.contains("open=\"requests or connections\""), "{line}");
    }
}
