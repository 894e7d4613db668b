//! The command `ecommerce check`.

use std::error::Error;

use sagas::{id::IdSource, time::Clock};

use super::{Options, Output};
use crate::{
    ServiceName,
    check::{Others, Report},
    services::{inventory, order, payment},
};

/// Checks the system that runs on the ports of `options` or, if none runs, its data. Returns whether every invariant holds.
///
/// # Errors
/// When neither a running system nor data is found.
pub(crate) async fn check(options: &Options, output: Output) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let client = options.client()?;
    let url = client.url(ServiceName::Order)?;
    let report = match client.get::<Report>(ServiceName::Order, "/check").await {
        Ok(report) => {
            output.say(format_args!("The system at {url}:"));
            report
        }
        Err(error) if error.is_connect() => {
            output.say(format_args!("Nothing runs at {url}; the data in {}:", options.place()));
            at_rest(options).await?
        }
        Err(error) if error.is_for_operators() => {
            let fix = "give the operator's token of that service with --operator-token-file or ECOMMERCE_OPERATOR_TOKEN";
            return Err(format!("{error}; {fix}").into());
        }
        Err(error) => return Err(error.into()),
    };
    tell(&report, output);
    Ok(report.ok)
}

/// Audits the data of a system that is not running.
async fn at_rest(options: &Options) -> Result<Report, Box<dyn Error + Send + Sync>> {
    let (dir, storage) = (&options.data_dir, options.storage()?);
    for service in [ServiceName::Order, ServiceName::Inventory, ServiceName::Payment] {
        if let Some(path) = storage.missing(dir, service) {
            return Err(
                format!("there is nothing to check: {} is not there; name the folder with --data-dir", path.display()).into()
            );
        }
    }
    let gateway = storage.gateway(dir, &Clock::system(), &IdSource::random()).await?;
    let orders = order::audit::audit(&storage.database(dir, ServiceName::Order).await?).await;
    let others = Others {
        inventory: inventory::audit::audit(&storage.database(dir, ServiceName::Inventory).await?)
            .await
            .map_err(|fault| fault.to_string()),
        payment: payment::audit::audit(&storage.database(dir, ServiceName::Payment).await?, &gateway)
            .await
            .map_err(|fault| fault.to_string()),
    };
    gateway.close().await;
    let orders = orders.map_err(|fault| fault.to_string())?;
    Ok(Report::of(orders.clone(), others, orders))
}

/// Prints the report.
pub(crate) fn tell(report: &Report, output: Output) {
    output.give(report);
    for verdict in &report.invariants {
        output.say(format_args!("  {} {}", if verdict.ok { "✓" } else { "✗" }, verdict.rule));
        for violation in &verdict.violations {
            output.say(format_args!("      {violation}"));
        }
    }
    output.say(format_args!(
        "  {} orders confirmed, {} cancelled, {} in flight",
        report.confirmed, report.cancelled, report.in_flight
    ));
}
