//! `ecommerce bench`: places orders at a rate or as fast as possible, and measures the system.
//!
//! It uses the system that runs on the ports of the settings or, if none runs, one that it starts itself. An order's time begins
//! when its POST is sent or, with a rate, was due, so that waiting for acceptance counts. It ends when the order became final
//! according to the system (`updatedAt`). Both times must come from the same clock, so the bench and the system must run on one
//! machine.

mod drive;
mod measure;

use std::error::Error;

use sagas::{id::IdSource, time::Clock};

use self::{drive::Drive, measure::Measured};
use super::{Options, Output, check::tell};
use crate::{ServiceName, check::Report, client::Client, start};

/// How many orders are placed, and how fast.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Load {
    /// Number of orders
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) orders: u32,
    /// Orders per second [default: as fast as possible]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: Option<u32>,
    /// Number of concurrent requests
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
}

/// Runs the bench, and returns whether every order ended and every invariant holds.
///
/// # Errors
/// When the system cannot be started or driven.
pub(crate) async fn bench(options: &Options, load: Load, output: Output) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let there = options.client()?;
    let (client, own) = if there.get::<serde_json::Value>(ServiceName::Order, "/health/live").await.is_ok() {
        (there, None)
    } else {
        let running = start(options.to_config()?).await?;
        (running.client().clone(), Some(running))
    };
    let origin = if own.is_some() { "started here" } else { "running already" };
    output.say(format_args!(
        "Driving {} orders through the system at {} ({origin})",
        load.orders,
        client.url(ServiceName::Order)?
    ));
    let result = measured(&client, load, own.is_some(), output).await;
    if let Some(running) = own {
        running.stop().await;
    }
    result
}

async fn measured(client: &Client, load: Load, own: bool, output: Output) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let run = IdSource::random().uuid(Clock::system().now()).simple().to_string();
    let at_a_rate = load.rate.is_some();
    let drive = Drive::prepare(client.clone(), load, &run).await?;
    drive.run(output).await?;
    let measured = Measured::of(&drive.orders().await?, at_a_rate, own);
    output.say(&measured);
    output.give(&measured);
    let report: Report = client.get(ServiceName::Order, "/check").await?;
    tell(&report, output);
    Ok(measured.all_ended() && report.ok)
}
