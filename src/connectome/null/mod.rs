//! Null wirings: what a measured connectome is compared with. Each keeps the number of connections of every lamina
//! block, the neurons and their polarity, and destroys more or less of the rest.
//!
//! A lamina block is the pairs from one group of neurons to another; a group is a lamina's neurons of one polarity, those
//! of unsure type apart, so that each projection of a network keeps its number of weights exactly. Synapse counts go with
//! the connections of their block. Autapses, which a measured column hardly has, stay where they are and none is added.
//!
//! To add one: a function from connectome and random stream to connections, its row in [`NULL_WIRINGS`], what it keeps in
//! `tests.rs`, and a model in `study/plans/wiring.toml`.

mod redraw;
mod shuffle;
mod swap;

use super::{Connectome, Synapses};
use crate::config::one_of;
use crate::error::{Error, Result};
use crate::rng::Rng;

/// A connection `(post, pre, synapses)`.
type Connection = (usize, usize, u32);

/// One way of rewiring.
pub struct NullWiring {
    /// Name in the configuration.
    pub name: &'static str,
    /// What is kept beyond the connections of each lamina block, and what is random, one line.
    pub doc: &'static str,
    /// The new connections.
    rewire: fn(&Connectome, &mut Rng) -> Result<Vec<Connection>>,
}

/// Every null wiring, from the least to the most constrained.
pub const NULL_WIRINGS: &[NullWiring] = &[
    NullWiring {
        name: "erdos-renyi",
        doc: "nothing more kept: connections uniformly at random in each lamina block (Erdős & Rényi 1959, G(n, M))",
        rewire: redraw::by_lamina,
    },
    NullWiring {
        name: "block-density",
        doc: "density of each pair of cell types kept, uniformly at random within (stochastic block model)",
        rewire: redraw::by_cell_type,
    },
    NullWiring {
        name: "distance-dependent",
        doc: "connections at each distance between cell bodies kept (bins of 25 um), uniformly at random within",
        rewire: redraw::by_distance,
    },
    NullWiring {
        name: "shuffled",
        doc: "each lamina block kept as a graph, its neurons' identities permuted apart from every other block",
        rewire: shuffle::identities,
    },
    NullWiring {
        name: "degree-preserving",
        doc: "fan-in and fan-out of every neuron in each lamina block kept; 10 swaps of pairs of connections per connection \
              (Maslov & Sneppen 2002)",
        rewire: swap::pairs,
    },
];

impl Connectome {
    /// The null wiring called `name` of this connectome, the one of `seed`; `none` gives it back as it is.
    ///
    /// # Errors
    /// `Usage` for an unknown name; `Input` for a connectome that lacks what the null wiring needs (positions).
    pub fn rewired(self, name: &str, seed: u64) -> Result<Self> {
        if name == "none" {
            return Ok(self);
        }
        let Some(null) = NULL_WIRINGS.iter().find(|n| n.name == name) else {
            let names: Vec<&str> = ["none"].into_iter().chain(NULL_WIRINGS.iter().map(|n| n.name)).collect();
            return Err(Error::usage(format!("connectome.null = \"{name}\" is unknown"), one_of(name, &names)));
        };
        let connections = (null.rewire)(&self, &mut Rng::stream(seed, null.name, &[]))?;
        let n = self.neurons.len();
        let synapses = Synapses::from_connections(n, n, connections)
            .map_err(|e| Error::other(format!("null wiring {name}: {e}"), "report this as a bug"))?;
        Ok(Self { origin: format!("{name} null wiring, seed {seed}, of {}", self.origin), synapses, ..self })
    }
}

/// The neurons of a connectome in groups, and the connections between each two of them.
struct Blocks {
    /// Members of each group, ascending.
    members: Vec<Vec<usize>>,
    /// Connections of each block, by `post group * groups + pre group`, without autapses.
    connections: Vec<Vec<Connection>>,
    /// Connections of a neuron with itself.
    autapses: Vec<Connection>,
}

/// One block: the connections from the neurons `pre` to the neurons `post`.
struct Block<'a> {
    post: &'a [usize],
    pre: &'a [usize],
    connections: &'a [Connection],
}

impl Blocks {
    /// Groups by lamina, polarity and whether the type is sure.
    fn of_laminae(connectome: &Connectome) -> Self {
        Self::by(connectome, |n| (&n.lamina, n.polarity, n.is_unsure(), ""))
    }

    /// Groups as those of [`Self::of_laminae`], each cut by cell type.
    fn of_cell_types(connectome: &Connectome) -> Self {
        Self::by(connectome, |n| (&n.lamina, n.polarity, n.is_unsure(), n.cell_type.as_str()))
    }

    fn by<'a, K: Ord>(connectome: &'a Connectome, key: impl Fn(&'a super::Neuron) -> K) -> Self {
        let mut keys: Vec<K> = connectome.neurons.iter().map(&key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut members = vec![Vec::new(); keys.len()];
        let group_of = |(i, n)| {
            let group = keys.binary_search(&key(n)).unwrap_or_default();
            members[group].push(i);
            group
        };
        let group: Vec<usize> = connectome.neurons.iter().enumerate().map(group_of).collect();
        let mut connections = vec![Vec::new(); keys.len() * keys.len()];
        let mut autapses = Vec::new();
        for (post, pre, count) in connectome.synapses.iter() {
            let list = match post == pre {
                true => &mut autapses,
                false => &mut connections[group[post] * keys.len() + group[pre]],
            };
            list.push((post, pre, count));
        }
        Self { members, connections, autapses }
    }

    /// Every block that has connections, in a fixed order.
    fn iter(&self) -> impl Iterator<Item = Block<'_>> {
        let groups = self.members.len();
        let filled = self.connections.iter().enumerate().filter(|(_, connections)| !connections.is_empty());
        filled.map(move |(at, connections)| Block {
            post: &self.members[at / groups],
            pre: &self.members[at % groups],
            connections,
        })
    }
}

#[cfg(test)]
mod tests;
