//! x
use crate::{app::Output, client::Client};
/// A
pub const SHORT: &[u8] = &[1, 2, 3];
/// A
pub const ALL: &[u8] = &[1, 2, 3];
/// x
pub async fn play(_c: &Client, _f: &[u8], _o: Output) -> bool {
    true
}
