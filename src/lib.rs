//! Event-driven services on Apache Kafka.

#[cfg(feature = "config")]
pub use saga_core::config;
#[cfg(feature = "http")]
pub use saga_core::http;
#[cfg(feature = "test-util")]
pub use saga_core::testing;
pub use saga_core::{extract, failure, handler, id, message, retry, runtime, settings, store, time, transport};
pub use saga_core::{
    failure::{Failure, Fault, OrRetry},
    runtime::{App, Handle, Service, ServiceHandle, StartError, Unavailable, UnitOfWork},
    settings::Settings,
    store::Database,
};

pub use saga_macros::{event, handler};

#[doc(hidden)]
pub use saga_core::__private;

/// The handlers named, each by its path, as a list for `Service::handlers`.
#[macro_export]
macro_rules! handlers {
    ($($handler:ty),* $(,)?) => {
        [$(<$handler as $crate::__private::HandlerDef>::handler()),*]
    };
}

/// What nearly every service uses.
pub mod prelude {
    pub use saga_macros::{event, handler};

    pub use crate::{
        App, Database, Failure, Fault, OrRetry, Service, ServiceHandle, UnitOfWork,
        extract::{Batch, Meta, On, State, Work},
        handlers,
        message::Event,
        store::Tx,
    };
}
