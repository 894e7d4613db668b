use std::sync::Mutex;

use tokio::time::{sleep, timeout};

use super::{super::Moment, *};
use crate::id::IdSource;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq)]
enum Call {
    Export(usize),
    Flush,
    End(Duration),
}

/// An exporter that records its calls and completes an export when it is allowed to.
#[derive(Debug, Clone)]
struct Recorder(Arc<Mutex<Vec<Call>>>, watch::Receiver<bool>);

impl Recorder {
    fn note(&self, call: Call) {
        self.0.lock().expect("no panic").push(call);
    }

    fn calls(&self) -> Vec<Call> {
        self.0.lock().expect("no panic").clone()
    }

    /// Waits until it was shut down and returns all calls.
    async fn ended(&self) -> Vec<Call> {
        let ended = async {
            while !matches!(self.calls().last(), Some(Call::End(_))) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("it was not ended: {:?}", self.calls()));
        self.calls()
    }
}

impl SpanExporter for Recorder {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.note(Call::Export(batch.len()));
        let _ = self.1.clone().wait_for(|free| *free).await;
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.note(Call::Flush);
        Ok(())
    }

    fn shutdown_with_timeout(&self, within: Duration) -> OTelSdkResult {
        self.note(Call::End(within));
        Ok(())
    }
}

/// Returns a pipeline to a recorder that completes exports at once, or when it is allowed to.
fn pipeline(free: bool) -> (Pipeline, Recorder, watch::Sender<bool>, Metrics) {
    let (let_go, free) = watch::channel(free);
    let (recorder, metrics) = (Recorder(Arc::default(), free), Metrics::new("shop"));
    let sampling = Sampling { root: Sampler::AlwaysOn, follows_parent: true };
    let never = Some(10 * PATIENCE);
    let pipeline = Pipeline::new(Box::new(recorder.clone()), &Resource::builder().build(), sampling, (16, never), &metrics);
    (pipeline, recorder, let_go, metrics)
}

fn span() -> Span {
    let context = TraceContext::root(&IdSource::seeded(1));
    Span::new(&context, "told".to_owned(), Kind::Internal).from(Moment::now(), Moment::now())
}

fn counted(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

fn dropped(metrics: &Metrics, reason: &str) -> u64 {
    counted(metrics, &format!("sagas_spans_dropped_total{{service=\"shop\",reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn a_stop_gives_what_waits_and_flushes_and_ends_the_exporter_once_within_its_time() {
    let (pipeline, recorder, _let_go, metrics) = pipeline(true);
    (0..3).for_each(|_| pipeline.take(span()));
    pipeline.close(PATIENCE).await;
    pipeline.close(PATIENCE).await;
    let [Call::Export(3), Call::Flush, Call::End(left)] = recorder.ended().await[..] else { panic!("{:?}", recorder.calls()) };
    // The default of the SDK is five seconds.
    assert!(Duration::from_secs(5) < left && left <= PATIENCE, "{left:?}");
    assert_eq!(counted(&metrics, "sagas_spans_exported_total"), 3);
    assert_eq!(["queue_full", "export_failed", "closed"].map(|reason| dropped(&metrics, reason)), [0, 0, 0]);
}

#[tokio::test]
async fn what_a_stop_has_not_waited_for_and_what_is_told_after_it_is_dropped_as_such() {
    let (pipeline, recorder, let_go, metrics) = pipeline(false);
    (0..2).for_each(|_| pipeline.take(span()));
    pipeline.close(Duration::from_millis(20)).await;
    assert_eq!(dropped(&metrics, "closed"), 2);
    pipeline.take(span());
    let_go.send_replace(true);
    assert_eq!(recorder.ended().await, [Call::Export(2), Call::Flush, Call::End(Duration::ZERO)], "no time is left");
    assert_eq!(["queue_full", "export_failed", "closed"].map(|reason| dropped(&metrics, reason)), [0, 0, 3]);
    assert_eq!(counted(&metrics, "sagas_spans_exported_total"), 0, "none is counted twice");
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_as_such() {
    let (pipeline, _recorder, let_go, metrics) = pipeline(false);
    (0..20).for_each(|_| pipeline.take(span()));
    assert_eq!(["queue_full", "export_failed", "closed"].map(|reason| dropped(&metrics, reason)), [4, 0, 0]);
    let_go.send_replace(true);
    pipeline.close(PATIENCE).await;
    assert_eq!(counted(&metrics, "sagas_spans_exported_total"), 16);
}
