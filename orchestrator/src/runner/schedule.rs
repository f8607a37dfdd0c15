//! In which order rounds run: interleaved at random, so that nothing that drifts on the host can pass for a fix.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::outcome::entry::RoundId;

/// Every round of every cell, in blocks: block *n* holds round *n* of each cell in a random order.
///
/// Blocks keep the variants abreast of each other however early a run is cut, and the shuffle within a block keeps any
/// cell from always running first. The same seed gives the same order.
pub fn interleave(cells: &[(String, u32)], seed: u64) -> Vec<RoundId> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let last = cells.iter().map(|(_, rounds)| *rounds).max().unwrap_or(0);
    let mut order = Vec::new();
    for round in 1..=last {
        let mut block: Vec<RoundId> = cells
            .iter()
            .filter(|(_, rounds)| round <= *rounds)
            .map(|(cell, _)| RoundId { cell: cell.clone(), round })
            .collect();
        block.shuffle(&mut rng);
        order.extend(block);
    }
    order
}

/// The seed of one round: the same for the same run seed, cell and round, unrelated for any other.
pub fn round_seed(seed: u64, id: &RoundId) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(id.round.to_le_bytes());
    hash.update(&id.cell);
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // Below 2^53: many JSON readers keep numbers as doubles.
    u64::from_le_bytes(first) >> 12
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn cells() -> Vec<(String, u32)> {
        vec![("base".into(), 5), ("patched".into(), 5), ("short".into(), 2)]
    }

    #[test]
    fn every_round_runs_once_and_blocks_stay_abreast() {
        let order = interleave(&cells(), 7);
        assert_eq!(order.len(), 12);
        assert_eq!(order.iter().collect::<HashSet<_>>().len(), 12);
        assert!(order.is_sorted_by_key(|id| id.round));
    }

    #[test]
    fn the_seed_alone_decides() {
        assert_eq!(interleave(&cells(), 7), interleave(&cells(), 7));
        assert!((0..32).any(|seed| interleave(&cells(), seed) != interleave(&cells(), 7)));
    }

    #[test]
    fn rounds_get_seeds_of_their_own_that_survive_a_double() {
        let seeds: HashSet<u64> = interleave(&cells(), 7).iter().map(|id| round_seed(7, id)).collect();
        assert_eq!(seeds.len(), 12);
        assert!(seeds.iter().all(|seed| *seed < 1 << 53));
    }
}
