//! Metrics on a recorder that the program owns.

use super::App;
use crate::runtime::metrics::{Program, Recorder};

impl App {
    /// Also records the metrics of the services on `recorder`, which the program owns.
    ///
    /// These are the metrics of the framework and those that a service adds, with the label `service`.
    /// [`GlobalRecorder`](crate::runtime::metrics::GlobalRecorder) is the recorder that is installed for the process. The services' own
    /// `/metrics` stay as they are. Do not mount them where the program serves its own.
    ///
    /// ```
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    /// use saga_core::runtime::App;
    ///
    /// let recorder = PrometheusBuilder::new().build_recorder();
    /// let shown = recorder.handle(); // `shown.render()` answers the program's own `/metrics`
    /// let app = App::new("shop").recorder(recorder);
    /// ```
    ///
    /// A series for a subject that can disappear, such as the lag of a partition, is set to 0 when the subject is gone. The recorder
    /// decides the buckets of a histogram; `/metrics` uses [`SECONDS`](crate::runtime::metrics::SECONDS) and
    /// [`COUNTS`](crate::runtime::metrics::COUNTS).
    #[must_use]
    pub fn recorder(mut self, recorder: impl Recorder + Send + Sync + 'static) -> Self {
        self.recorder = Program::new(recorder);
        self
    }
}
