//! The command `ecommerce`: the services with a short demo, and the subcommands `bench`, `check` and `health`.

mod bench;
mod check;
mod demo;
mod health;
mod options;
mod output;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;
use sagas::stop_signal;
use tracing_subscriber::EnvFilter;

use self::{
    options::{Cli, Command, Flows, Options, OptionsError},
    output::Output,
};
use crate::{Running, ServiceName, StartError, start};

/// The command succeeded.
const OK: u8 = 0;
/// The command failed.
const FAILED: u8 = 1;
/// A flag, a setting, a port or a URL is invalid.
const WRONG_USE: u8 = 2;

/// The log level without `RUST_LOG`: problems that need attention.
const DEFAULT_LOG: &str = "warn";

/// Runs the command `ecommerce`.
pub fn main() -> ExitCode {
    // clap prints help and errors itself, and exits with 2 after an error.
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter).init();
    let options = match Options::load(cli.config.as_deref(), &cli.flags) {
        Ok(options) => options,
        Err(error) => return complain(&error, WRONG_USE),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, FAILED),
    };
    let output = Output::new(options.json);
    runtime.block_on(async {
        match cli.command {
            None => run(&options, output).await,
            Some(Command::Check) => ended(check::check(&options, output).await),
            Some(Command::Health) => match health::health(&options, output).await {
                Ok(ready) => ExitCode::from(if ready { OK } else { FAILED }),
                Err(error) => complain(&error, WRONG_USE),
            },
            Some(Command::Bench(load)) => ended(bench::bench(&options, load, output).await),
        }
    })
}

async fn run(options: &Options, output: Output) -> ExitCode {
    let config = match options.check_once().and_then(|()| options.to_config()) {
        Ok(config) => config,
        Err(error) => return complain(&error, WRONG_USE),
    };
    let told = stop_signal();
    let running = match start(config).await {
        Ok(running) => running,
        Err(error @ StartError::Port(_)) => return complain(&error, WRONG_USE),
        Err(error) => return complain(&error, FAILED),
    };
    tell_what(options, &running, output);
    let code = tokio::select! {
        code = serve(options, &running, output) => code,
        () = told => {
            output.say("\nStopping … (Ctrl-C again ends it at once, which loses nothing)");
            OK
        }
    };
    let again = stop_signal();
    tokio::select! {
        in_time = running.stop() => {
            if !in_time {
                tracing::error!("some work did not end in time; it continues at the next start");
            }
            // A call to the gateway can take longer than any stop; that is no failure of the program.
            ExitCode::from(code)
        }
        () = again => {
            tracing::warn!("a second signal has ended the stop; unfinished work continues at the next start");
            ExitCode::from(FAILED)
        }
    }
}

/// Plays the demo, then serves until the process receives a signal to stop.
async fn serve(options: &Options, running: &Running, output: Output) -> u8 {
    let mut as_it_should = true;
    let allowed = options.turns_switches().unwrap_or(false);
    if !options.no_demo && !allowed {
        output.say("The demo is not played: it sets switches that are for operators, and --operator-token-file is not given.");
    }
    if !options.no_demo && allowed && plays_the_demo(running) {
        let flows = match options.demo {
            Flows::Short => demo::SHORT,
            Flows::All => demo::ALL,
        };
        as_it_should = demo::play(running.client(), flows, output).await;
    }
    if options.once {
        return if as_it_should { OK } else { FAILED };
    }
    tell_where(running, output);
    std::future::pending().await
}

fn tell_what(options: &Options, running: &Running, output: Output) {
    let services = ServiceName::ALL.map(ServiceName::as_str).into_iter().filter(|service| running.base_url(service).is_some());
    let services: Vec<_> = services.collect();
    output.say(format_args!("The services {} run, with their data in {}.", services.join(", "), options.place()));
}

/// Returns whether the demo can be played: it needs all five services.
fn plays_the_demo(running: &Running) -> bool {
    ServiceName::ALL.iter().all(|service| running.base_url(service.as_str()).is_some())
}

fn tell_where(running: &Running, output: Output) {
    let services: Vec<_> =
        ServiceName::ALL.iter().filter_map(|service| Some((service.as_str(), running.base_url(service.as_str())?))).collect();
    let urls: serde_json::Map<_, _> = services.iter().map(|(service, url)| ((*service).to_owned(), (*url).into())).collect();
    output.give(&serde_json::json!({"serving": urls}));
    output.say("Serving until Ctrl-C:");
    let first_calls = [
        ("order", "/api/v1/orders"),
        ("inventory", "/api/v1/products"),
        ("payment", "/api/v1/gateway"),
        ("notification", "/api/v1/notifications"),
        ("analytics", "/analytics/dashboard"),
    ];
    for (service, url) in services {
        let path = first_calls.iter().find(|(name, _)| *name == service).map_or("", |(_, path)| path);
        output.say(format_args!("  {service:<13} {url}{path}"));
    }
    output.say("Each also answers /docs, /health, /metrics, /sagas and /dead-letters.");
}

fn ended(result: Result<bool, Box<dyn std::error::Error + Send + Sync>>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::from(OK),
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            let wrong_use = matches!(error.downcast_ref::<StartError>(), Some(StartError::Port(_)));
            complain(&error, if wrong_use { WRONG_USE } else { FAILED })
        }
    }
}

fn complain(error: &impl std::fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(code)
}
