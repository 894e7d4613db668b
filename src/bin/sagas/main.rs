//! The program `sagas`: what the databases of services say of their sagas and dead letters, read without the programs that wrote them
//! and without changing anything, whether those run or not. Only [`letters`] and [`replays`] write: to settle dead letters, and to ask for
//! replays.

mod args;
mod check;
mod explain;
mod flows;
mod graph;
mod letters;
mod output;
mod places;
mod ps;
mod replays;
mod rows;
mod table;
mod tracked;
mod trouble;
mod words;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, Letters, Replays};
use output::Output;
use trouble::Trouble;

fn main() -> ExitCode {
    // clap prints help and mistakes itself, and exits with 2 for the latter.
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Trouble::Failed(format!("the program cannot begin: {error}"))),
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

/// Does what was asked for; says whether all is as it should be.
async fn run(cli: Cli) -> Result<bool, Trouble> {
    let (place, output) = (cli.place()?, Output::new(cli.json));
    let service = cli.service().map(str::to_owned);
    match cli.command {
        Command::Ps(wanted) => ps::ps(&place, &wanted, &output).await,
        Command::Explain(wanted) => explain::explain(&place, &wanted, &output).await,
        Command::Graph(wanted) => graph::graph(&place, &wanted, &output).await,
        Command::Check => check::check(&place, &output).await,
        Command::Letters(Letters { what }) => letters::letters(&place, service.as_deref(), what, &output).await,
        Command::Replays(Replays { what }) => replays::replays(&place, service.as_deref(), what, &output).await,
    }
}
