//! Null wirings that draw the pairs anew: as many connections in each block, at pairs chosen uniformly without
//! replacement; the block's synapse counts are dealt out to them at random.

use super::{Block, Blocks, Connection};
use crate::connectome::Connectome;
use crate::error::Result;
use crate::rng::Rng;
use std::collections::HashSet;

/// Width of the bins of distance between cell bodies, micrometres.
const BIN_UM: f32 = 25.0;
/// The bin of all that is 10 cm or more apart, so that no position makes the bins too many.
const LAST_BIN: usize = 4000;

/// Blocks by lamina and polarity.
pub(super) fn by_lamina(connectome: &Connectome, rng: &mut Rng) -> Result<Vec<Connection>> {
    Ok(uniform(Blocks::of_laminae(connectome), rng))
}

/// Blocks by lamina, polarity and cell type.
pub(super) fn by_cell_type(connectome: &Connectome, rng: &mut Rng) -> Result<Vec<Connection>> {
    Ok(uniform(Blocks::of_cell_types(connectome), rng))
}

fn uniform(blocks: Blocks, rng: &mut Rng) -> Vec<Connection> {
    let mut all = Vec::new();
    for block in blocks.iter() {
        let counts = shuffled_counts(&block, rng);
        let within = block.post == block.pre;
        // Pairs without the diagonal, by number.
        let n_pre = block.pre.len() - usize::from(within);
        let chosen = choose(block.connections.len(), block.post.len() * n_pre, rng);
        all.extend(chosen.into_iter().zip(counts).map(|(pair, count)| {
            let (post, pre) = (pair / n_pre, pair % n_pre);
            (block.post[post], block.pre[pre + usize::from(within && pre >= post)], count)
        }));
    }
    all.extend(blocks.autapses);
    all
}

/// Blocks by lamina and polarity, each cut into bins of distance. Looks at all pairs of neurons.
pub(super) fn by_distance(connectome: &Connectome, rng: &mut Rng) -> Result<Vec<Connection>> {
    let positions: Vec<[f32; 3]> =
        connectome.positions(0..connectome.neurons.len(), "the distance-dependent null wiring")?;
    let bin = |post: usize, pre: usize| {
        let squared: f32 = positions[post].iter().zip(&positions[pre]).map(|(a, b)| (a - b) * (a - b)).sum();
        ((squared.sqrt() / BIN_UM) as usize).min(LAST_BIN)
    };
    let blocks = Blocks::of_laminae(connectome);
    let mut all = Vec::new();
    for block in blocks.iter() {
        let counts = shuffled_counts(&block, rng);
        let mut wanted = Vec::new();
        for &(post, pre, _) in block.connections {
            let bin = bin(post, pre);
            wanted.resize(wanted.len().max(bin + 1), 0);
            wanted[bin] += 1;
        }
        // A reservoir of each bin (algorithm R: Vitter 1985) holds a uniform sample of the pairs that passed by.
        let mut chosen = vec![Vec::new(); wanted.len()];
        let mut passed = vec![0; wanted.len()];
        for &post in block.post {
            for &pre in block.pre.iter().filter(|&&pre| pre != post) {
                let bin = bin(post, pre);
                if wanted.get(bin).is_none_or(|&n| n == 0) {
                    continue;
                }
                passed[bin] += 1;
                if chosen[bin].len() < wanted[bin] {
                    chosen[bin].push((post, pre));
                } else if let Some(place) = chosen[bin].get_mut(rng.below(passed[bin])) {
                    *place = (post, pre);
                }
            }
        }
        all.extend(chosen.concat().into_iter().zip(counts).map(|((post, pre), count)| (post, pre, count)));
    }
    all.extend(blocks.autapses);
    Ok(all)
}

fn shuffled_counts(block: &Block, rng: &mut Rng) -> Vec<u32> {
    let mut counts: Vec<u32> = block.connections.iter().map(|c| c.2).collect();
    rng.shuffle(&mut counts);
    counts
}

/// `k` distinct numbers below `n`, every set equally likely, in random order (Floyd's algorithm: Bentley & Floyd 1987).
fn choose(k: usize, n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut chosen = Vec::with_capacity(k);
    let mut taken = HashSet::with_capacity(k);
    for last in n - k..n {
        let number = rng.below(last + 1);
        let number = if taken.insert(number) { number } else { last };
        taken.insert(number);
        chosen.push(number);
    }
    rng.shuffle(&mut chosen);
    chosen
}
