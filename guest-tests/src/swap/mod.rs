//! The race over a swap entry that is freed and used again while a fault reads it
//! (CVE-2024-26759; fixed by Linux commit 13ddaf26be32).

mod operations;
mod page;
mod scene;
mod settle;
mod slate;

use twinboot_protocol::Preflight;

pub use page::{RacedPage, SwapTarget};
pub use scene::SwapScene;

use crate::ballast::{LEAST_SLOTS, MOST_SLOTS};
use crate::error::Error;
use crate::sys::swaps;

/// Refuses ground on which an entry can't be made to come back: exactly one swap device, small enough to keep full.
/// Returns its slots.
pub fn require_small_swap(preflight: &Preflight) -> Result<u64, Error> {
    let active = swaps::active()?;
    if active.len() > 1 {
        return Err(Error::SeveralSwaps(active.len()));
    }
    let Some(swap) = &preflight.swap else { return Err(Error::NoSwap) };
    if swap.slots > MOST_SLOTS {
        return Err(Error::SwapTooLarge { path: swap.path.clone(), slots: swap.slots, most: MOST_SLOTS });
    }
    let free = swaps::free_slots()?;
    if free < LEAST_SLOTS {
        return Err(Error::SwapTooSmall { free, least: LEAST_SLOTS });
    }
    Ok(swap.slots)
}
