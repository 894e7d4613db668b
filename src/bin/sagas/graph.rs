//! `sagas graph`: a drawing of a saga.

use sagas::saga::Chart;
use serde::Serialize;

use super::{
    args::{Format, Graph},
    error::CliError,
    flows::Flows,
    output::Output,
    places::Place,
};

/// A drawing of a saga.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Drawn {
    service: String,
    saga: String,
    version: u32,
    format: &'static str,
    text: String,
}

/// Draws a saga or, if none is named, all sagas.
///
/// # Errors
/// If there is no such saga, or the databases cannot be read.
pub(crate) async fn graph(place: &Place, wanted: &Graph, output: &Output) -> Result<bool, CliError> {
    let drawn = place
        .read(async |services| {
            let flows = Flows::of(services).await?;
            let chosen = chosen(&flows, wanted);
            match chosen.is_empty() {
                true => Err(CliError::Failed(missing(&flows, wanted))),
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

/// The selected sagas, each in one version, and once even if several services track it.
fn chosen<'f>(flows: &'f Flows, wanted: &Graph) -> Vec<(&'f str, &'f Chart)> {
    let mut chosen: Vec<(&str, &Chart)> = Vec::new();
    for (service, chart) in flows.iter() {
        let definition = &chart.definition;
        let meant = wanted.saga.as_ref().is_none_or(|saga| *saga == definition.name)
            && wanted.flow_version.is_none_or(|version| version == definition.version);
        // The definitions are sorted by name, then by version.
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
