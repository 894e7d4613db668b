//! `sagas graph`: a flow, drawn.

use sagas::saga::Chart;
use serde::Serialize;

use super::{
    args::{Format, Graph},
    flows::Flows,
    output::Output,
    places::Place,
    trouble::Trouble,
};

/// A flow, drawn.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Drawn {
    service: String,
    saga: String,
    version: u32,
    format: &'static str,
    text: String,
}

/// Draws a flow, or, if none is named, all there are.
///
/// # Errors
/// When there is no such flow, or the databases cannot be read.
pub(crate) async fn graph(place: &Place, wanted: &Graph, output: &Output) -> Result<bool, Trouble> {
    let drawn = place
        .read(async |services| {
            let flows = Flows::of(services).await?;
            let chosen = chosen(&flows, wanted);
            match chosen.is_empty() {
                true => Err(Trouble::Failed(missing(&flows, wanted))),
                false => {
                    Ok(chosen.into_iter().map(|(service, chart)| Drawn::of(service, chart, wanted.format)).collect::<Vec<_>>())
                }
            }
        })
        .await?;
    for (index, drawn) in drawn.iter().enumerate() {
        output.give(drawn);
        if index > 0 {
            output.say("");
        }
        output.say(drawn.text.trim_end());
    }
    Ok(true)
}

/// The flows that are meant, each in one version, and once however many services track it.
fn chosen<'f>(flows: &'f Flows, wanted: &Graph) -> Vec<(&'f str, &'f Chart)> {
    let mut chosen: Vec<(&str, &Chart)> = Vec::new();
    for (service, chart) in flows.iter() {
        let definition = &chart.definition;
        let meant = wanted.saga.as_ref().is_none_or(|saga| *saga == definition.name)
            && wanted.flow_version.is_none_or(|version| version == definition.version);
        // In the order of names, then of versions.
        match chosen.last_mut().filter(|(_, last)| last.definition.name == definition.name) {
            _ if !meant => {}
            Some(last) if last.1.definition.version < definition.version => *last = (service, chart),
            Some(_) => {}
            None => chosen.push((service, chart)),
        }
    }
    chosen
}

fn missing(flows: &Flows, wanted: &Graph) -> String {
    let known: Vec<_> =
        flows.iter().map(|(_, chart)| format!("{} (version {})", chart.definition.name, chart.definition.version)).collect();
    let flow = match (&wanted.saga, wanted.flow_version) {
        (Some(saga), Some(version)) => format!("flow `{saga}` of version {version}"),
        (Some(saga), None) => format!("flow `{saga}`"),
        (None, Some(version)) => format!("flow of version {version}"),
        (None, None) => "flow".to_owned(),
    };
    match known.is_empty() {
        true => format!(
            "there is no {flow} here: a flow is written by the service that tracks it when that starts; read its database"
        ),
        false => format!("there is no {flow} here; there are {}", known.join(", ")),
    }
}

impl Drawn {
    fn of(service: &str, chart: &Chart, format: Format) -> Self {
        let (format, text) = match format {
            Format::State => ("state", chart.state_diagram()),
            Format::Sequence => ("sequence", chart.sequence_diagram()),
            Format::Dot => ("dot", chart.graphviz()),
            Format::Canvas => ("canvas", chart.canvas()),
        };
        let (saga, version) = (chart.definition.name.clone(), chart.definition.version);
        Self { service: service.to_owned(), saga, version, format, text }
    }
}
