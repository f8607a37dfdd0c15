//! A seed for the entropy pool.

use rand::RngCore;

use crate::args::generator;
use crate::sys::SysError;
use crate::sys::entropy::{self, SEED_BYTES};

/// Mixes `seed` into the kernel's pool: guests cloned from one snapshot then differ, and no reader waits. The guest holds
/// no secrets, so a seed that the host knows is enough.
pub fn mix(seed: u64) -> Result<(), SysError> {
    entropy::credit(expand(seed))
}

fn expand(seed: u64) -> [u8; SEED_BYTES] {
    let mut bytes = [0; SEED_BYTES];
    generator(seed).fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_gives_other_bytes() {
        assert_eq!(expand(1), expand(1));
        assert_ne!(expand(1), expand(2));
    }
}
