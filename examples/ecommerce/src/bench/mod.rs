//! x
use crate::app::{Options, Output};
/// x
#[derive(Debug, clap::Args)]
pub struct Load {
    /// How many
    #[arg(long, default_value_t = 2000)]
    pub orders: u32,
}
/// x
pub async fn bench(_c: &Options, _f: Load, _o: Output) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    Ok(true)
}
