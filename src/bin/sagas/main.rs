//! The program `sagas`: shows what the databases of services contain about sagas and dead letters. It needs no program of a
//! service, and works whether the services run or not. Only [`letters`], [`replays`] and [`migrations`] write: they settle dead
//! letters, request replays, and create the framework's tables.

mod args;
mod check;
mod definitions;
mod error;
mod explain;
mod graph;
mod letters;
mod migrations;
mod output;
mod places;
mod ps;
mod replays;
mod rows;
mod table;
mod tracked;
mod words;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, Letters, Migrations, Replays};
use error::CliError;
use output::Output;

fn main() -> ExitCode {
    // clap prints help and errors of the command line itself, and exits with 2 for the latter.
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(CliError::Failed(format!("the program cannot begin: {error}"))),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            output::complain(&trouble);
            ExitCode::from(trouble.code())
        }
    }
}

/// Runs the command. Returns whether the exit code is 0.
async fn run(cli: Cli) -> Result<bool, CliError> {
    let (place, output) = (cli.place()?, Output::new(cli.json));
    let service = cli.service().map(str::to_owned);
    match cli.command {
        Command::Ps(wanted) => ps::ps(&place, &wanted, &output).await,
        Command::Explain(wanted) => explain::explain(&place, &wanted, &output).await,
        Command::Graph(wanted) => graph::graph(&place, &wanted, &output).await,
        Command::Check => check::check(&place, &output).await,
        Command::Letters(Letters { what }) => letters::letters(&place, service.as_deref(), what, &output).await,
        Command::Migrations(Migrations { what }) => migrations::migrations(&place, what, &output).await,
        Command::Replays(Replays { what }) => replays::replays(&place, service.as_deref(), what, &output).await,
    }
}
