//! `sagas check`: what somebody should see to.

mod finding;
mod look;

use sagas::time::Clock;

use super::{
    flows::Flows,
    output::Output,
    places::Place,
    trouble::Trouble,
    words::{counted, one_line},
};

/// Looks for what somebody should see to; says whether there is nothing.
///
/// # Errors
/// When the databases cannot be read.
pub(crate) async fn check(place: &Place, output: &Output) -> Result<bool, Trouble> {
    let clock = Clock::system();
    let report = place
        .read(async |services| {
            let flows = Flows::of(services).await?;
            look::at(services, &flows, clock.now()).await
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
