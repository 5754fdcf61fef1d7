//! The null wiring that keeps every neuron's fan-in and fan-out.

use super::{Blocks, Connection};
use crate::connectome::Connectome;
use crate::error::Result;
use crate::rng::Rng;
use std::collections::HashSet;

/// Swaps per connection.
const SWAPS: usize = 10;
/// Tries per connection, for blocks that allow few swaps or none (a star, a complete block).
const TRIES: usize = 1000;

/// Swaps the postsynaptic ends of two random connections a -> b, c -> d of a block to a -> d, c -> b, over and over, where
/// that makes neither a second connection of a pair nor an autapse. A connection's synapses stay with the presynaptic
/// neuron.
pub(super) fn pairs(connectome: &Connectome, rng: &mut Rng) -> Result<Vec<Connection>> {
    let blocks = Blocks::of_laminae(connectome);
    let mut all = Vec::new();
    for block in blocks.iter() {
        let mut connections = block.connections.to_vec();
        swap(&mut connections, rng);
        all.extend(connections);
    }
    all.extend(blocks.autapses);
    Ok(all)
}

/// Swaps [`SWAPS`] times per connection, or as often as [`TRIES`] allow; returns how often.
pub(super) fn swap(connections: &mut [Connection], rng: &mut Rng) -> usize {
    let n = connections.len();
    let mut joined: HashSet<(usize, usize)> = connections.iter().map(|c| (c.0, c.1)).collect();
    let mut swaps = 0;
    for _ in 0..TRIES * n {
        if swaps == SWAPS * n {
            break;
        }
        let (k, l) = (rng.below(n), rng.below(n));
        let ((b, a, _), (d, c, _)) = (connections[k], connections[l]);
        let same = a == c || b == d;
        if same || a == d || c == b || joined.contains(&(d, a)) || joined.contains(&(b, c)) {
            continue;
        }
        joined.remove(&(b, a));
        joined.remove(&(d, c));
        joined.extend([(d, a), (b, c)]);
        (connections[k].0, connections[l].0) = (d, b);
        swaps += 1;
    }
    swaps
}
