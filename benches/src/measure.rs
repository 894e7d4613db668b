//! The measurement of a run.

use std::{fs, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The result of one run, from the first received message to the last acknowledged record.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The number of messages.
    pub(crate) messages: usize,
    /// Wall time in seconds.
    pub(crate) seconds: f64,
    /// Processor time of this process in seconds, in user and in kernel mode.
    pub(crate) cpu_seconds: f64,
    /// The peak resident memory in MiB.
    pub(crate) memory_mib: f64,
}

impl Measured {
    /// Returns the messages per second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// Returns the processor time per message in microseconds.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.messages as f64
    }
}

/// A point in time, by the wall clock and by processor time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    wall: tokio::time::Instant,
    cpu: Duration,
}

impl Moment {
    /// Returns the current time.
    pub(crate) fn now() -> Self {
        Self { wall: tokio::time::Instant::now(), cpu: cpu().unwrap_or_default() }
    }

    /// Returns the time that has passed since, with the peak memory.
    pub(crate) fn measure(&self, messages: usize) -> Result<Measured, Error> {
        Ok(Measured {
            messages,
            seconds: self.wall.elapsed().as_secs_f64(),
            cpu_seconds: cpu()?.saturating_sub(self.cpu).as_secs_f64(),
            memory_mib: peak_memory()?,
        })
    }
}

/// Returns the processor time of this process so far, in user and kernel mode. Linux counts it in ticks of 10 ms.
fn cpu() -> Result<Duration, Error> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field is the name in parentheses, which can contain spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("/proc/self/stat has another form")?.1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn peak_memory() -> Result<f64, Error> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("/proc/self/status has no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
