//! Runs every variant in turn, and prints the comparison.

use std::collections::BTreeMap;

use tokio::process::Command;

use crate::{Error, Options, Variant, measure::Measured, world};

/// The pairs to compare: a variant of the framework, and the loop by hand that does the same.
const PAIRS: [(Variant, Variant); 4] = [
    (Variant::Handler, Variant::HandMany),
    (Variant::BatchHandler, Variant::HandSum),
    (Variant::Handler, Variant::HandOne),
    (Variant::BatchHandler, Variant::HandOne),
];

/// Runs all variants `rounds` times.
pub(crate) async fn compare(options: &Options) -> Result<(), Error> {
    world::fill(&options.kafka, options.messages.max(options.messages_one)).await?;
    let mut runs: BTreeMap<Variant, Vec<Measured>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for variant in Variant::ALL {
            let measured = child(options, variant).await?;
            println!(
                "round {round}  {:<14} {:>8.0} messages/s  {:>6.1} us of CPU each  {:>5.0} MiB",
                name(variant),
                measured.rate(),
                measured.cpu_micros(),
                measured.memory_mib
            );
            runs.entry(variant).or_default().push(measured);
        }
    }
    world::remove(&options.kafka).await?;
    println!("\nratio of throughput, and of CPU per message, of one round each: median (lowest to highest)");
    for (ours, theirs) in PAIRS {
        let rounds = || runs[&ours].iter().zip(&runs[&theirs]);
        let rate = spread(rounds().map(|(ours, theirs)| ours.rate() / theirs.rate()).collect());
        let cpu = spread(rounds().map(|(ours, theirs)| ours.cpu_micros() / theirs.cpu_micros()).collect());
        println!("{:<14} / {:<10}  throughput {rate}  CPU {cpu}", name(ours), name(theirs));
    }
    Ok(())
}

/// Runs a variant in its own process, so that it leaves nothing behind for the next.
async fn child(options: &Options, variant: Variant) -> Result<Measured, Error> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--variant", &name(variant)])
        .args(["--messages", &options.messages.to_string(), "--messages-one", &options.messages_one.to_string()])
        .args(["--kafka", &options.kafka, "--postgres", &options.postgres])
        .stderr(std::process::Stdio::inherit())
        .output()
        .await?;
    if !output.status.success() {
        return Err(format!("{} failed", name(variant)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn name(variant: Variant) -> String {
    use clap::ValueEnum;
    variant.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn spread(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (ratios.first(), ratios.last()) else { return String::new() };
    format!("{:.2} ({first:.2} to {last:.2})", ratios[ratios.len() / 2])
}
