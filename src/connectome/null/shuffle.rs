//! The null wiring that keeps each block as a graph but not who is who in it.

use super::{Blocks, Connection};
use crate::connectome::Connectome;
use crate::error::Result;
use crate::rng::Rng;

/// Permutes the neurons of each block, apart from every other block. One permutation over the whole column would only
/// rename the neurons of a lamina, which no network with a dense input can tell; here the neuron that is much driven in
/// one block is another than the one that drives much in the next. Within a group (recurrence) both sides are permuted
/// alike, so that reciprocity and motifs stay.
pub(super) fn identities(connectome: &Connectome, rng: &mut Rng) -> Result<Vec<Connection>> {
    let blocks = Blocks::of_laminae(connectome);
    let mut all = Vec::new();
    // Where each neuron's role in the block goes, on the postsynaptic and on the presynaptic side.
    let mut to: [Vec<usize>; 2] = std::array::from_fn(|_| (0..connectome.neurons.len()).collect());
    for block in blocks.iter() {
        for (to, members) in to.iter_mut().zip([block.post, block.pre]) {
            let mut permuted = members.to_vec();
            rng.shuffle(&mut permuted);
            members.iter().zip(permuted).for_each(|(&from, new)| to[from] = new);
        }
        let pre = usize::from(block.post != block.pre);
        all.extend(block.connections.iter().map(|&(j, i, count)| (to[0][j], to[pre][i], count)));
    }
    all.extend(blocks.autapses);
    Ok(all)
}
