//! `sagas graph`: a drawing of a saga.

use sagas::saga::Chart;
use serde::Serialize;

use super::{
    args::{Format, Graph},
    definitions::Definitions,
    error::CliError,
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
            let definitions = Definitions::of(services).await?;
            let chosen = chosen(&definitions, wanted);
            match chosen.is_empty() {
                true => Err(CliError::Failed(missing(&definitions, wanted))),
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
fn chosen<'f>(definitions: &'f Definitions, wanted: &Graph) -> Vec<(&'f str, &'f Chart)> {
    let mut chosen: Vec<(&str, &Chart)> = Vec::new();
    for (service, chart) in definitions.iter() {
        let definition = &chart.definition;
        let meant = wanted.saga.as_ref().is_none_or(|saga| *saga == definition.name)
            && wanted.saga_version.is_none_or(|version| version == definition.version);
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

fn missing(definitions: &Definitions, wanted: &Graph) -> String {
    let known: Vec<_> = definitions
        .iter()
        .map(|(_, chart)| format!("{} (version {})", chart.definition.name, chart.definition.version))
        .collect();
    let saga = match (&wanted.saga, wanted.saga_version) {
        (Some(saga), Some(version)) => format!("saga `{saga}` of version {version}"),
        (Some(saga), None) => format!("saga `{saga}`"),
        (None, Some(version)) => format!("saga of version {version}"),
        (None, None) => "saga".to_owned(),
    };
    match known.is_empty() {
        true => format!(
            "there is no {saga} here: the service that tracks a saga writes its definition when it starts; read the database of that service"
        ),
        false => format!("there is no {saga} here; there are {}", known.join(", ")),
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
