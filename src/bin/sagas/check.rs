//! `sagas check`: what needs an operator.

mod finding;
mod look;

use sagas::time::Clock;

use super::{
    definitions::Definitions,
    error::CliError,
    output::Output,
    places::Place,
    words::{counted, one_line},
};

/// Lists what needs an operator. Returns whether there is nothing.
///
/// # Errors
/// If the databases cannot be read.
pub(crate) async fn check(place: &Place, output: &Output) -> Result<bool, CliError> {
    let clock = Clock::system();
    let report = place
        .read(async |services| {
            let definitions = Definitions::of(services).await?;
            look::at(services, &definitions, clock.now()).await
        })
        .await?;
    for finding in &report.findings {
        output.give(finding);
        output.say(format_args!("{}\n    fix: {}", one_line(&finding.said()), one_line(&finding.fix)));
    }
    let looked = format!("{} in {}", counted(report.open, "open instance", "open instances"), report.services);
    match report.findings.len() {
        0 => output.say(format_args!("Nothing was found: {looked}.")),
        found => output.say(format_args!("\n{}: {looked}.", counted(found as u64, "finding", "findings"))),
    }
    Ok(report.findings.is_empty())
}
