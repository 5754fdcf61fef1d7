//! A connectome: neurons with id, type, lamina, polarity and position, and the synapses among them.

use xxhash_rust::xxh3::Xxh3;

use super::Synapses;
use crate::error::{Error, Result};

/// What a neuron does to its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Polarity {
    /// Depolarises.
    Excitatory,
    /// Hyperpolarises or shunts.
    Inhibitory,
}

impl Polarity {
    /// +1 or -1.
    pub fn sign(self) -> f32 {
        match self {
            Self::Excitatory => 1.0,
            Self::Inhibitory => -1.0,
        }
    }

    /// `E` or `I`.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Excitatory => "E",
            Self::Inhibitory => "I",
        }
    }
}

/// One neuron.
#[derive(Clone, Debug, PartialEq)]
pub struct Neuron {
    /// Identifier in its source (a root id, segment id or plain number), as written there.
    pub id: String,
    /// Cell type, canonical spelling (`23P`, `5P-PT`, `BC`, ...).
    pub cell_type: String,
    /// Lamina (`L2/3`), by type for excitatory cells and by depth for inhibitory ones where the source says nothing.
    pub lamina: String,
    /// Excitatory or inhibitory.
    pub polarity: Polarity,
    /// Position `[x, depth, z]` in micrometres (`_um`), if known; depth grows from the pia.
    pub position_um: Option<[f32; 3]>,
}

impl Neuron {
    /// True if the source could not tell the type of this cell (`Unsure E`).
    pub fn is_unsure(&self) -> bool {
        self.cell_type.starts_with("Unsure")
    }
}

/// Neurons and the synapses among all of them (`n_post = n_pre = neurons.len()`).
#[derive(Clone, Debug, PartialEq)]
pub struct Connectome {
    /// Where it came from, one line for reports: `measured: .../microns`, `statistical column, seed 1`.
    pub origin: String,
    /// Neurons; index in this list = row and column in `synapses`.
    pub neurons: Vec<Neuron>,
    /// Mask and synapse counts over all pairs.
    pub synapses: Synapses,
    /// Part of the ordered pairs whose state is known (1 for a complete reconstruction), if the source tells.
    pub known_pairs: Option<f64>,
}

/// Laminae from pia to white matter.
const FROM_PIA: [&str; 7] = ["L1", "L2/3", "L2", "L3", "L4", "L5", "L6"];

/// Laminae in the order in which feed-forward input visits them.
const FROM_INPUT: [&str; 7] = ["L4", "L2/3", "L2", "L3", "L5", "L6", "L1"];

impl Connectome {
    /// Where these neurons are: x, depth below the pia and z in micrometres.
    ///
    /// # Errors
    /// `Input` naming one without a position, which `user` needs.
    pub fn positions(&self, neurons: impl IntoIterator<Item = usize>, user: &str) -> Result<Vec<[f32; 3]>> {
        let position = |i: usize| {
            let Neuron { id, position_um, .. } = &self.neurons[i];
            let known = position_um.filter(|p| p.iter().all(|v| v.is_finite()));
            known.ok_or_else(|| {
                let what = format!("neuron {id} has no position, which {user} needs");
                Error::input(
                    &self.origin,
                    what,
                    format!("give every neuron x_um, depth_um and z_um, or leave out {user}"),
                )
            })
        };
        neurons.into_iter().map(position).collect()
    }

    /// Laminae that have neurons, from pia to white matter; names unknown to neuroanatomy follow by first appearance.
    pub fn laminae(&self) -> Vec<String> {
        ordered(self.neurons.iter(), &FROM_PIA)
    }

    /// Laminae that have a [`population`](Self::population) in processing order: L4, L2/3, L5, L6; names unknown to
    /// neuroanatomy follow by first appearance.
    pub fn processing_order(&self) -> Vec<String> {
        let excitatory = |n: &&Neuron| n.polarity == Polarity::Excitatory && !n.is_unsure();
        ordered(self.neurons.iter().filter(excitatory), &FROM_INPUT)
    }

    /// Indices of the neurons of a lamina and a polarity, ascending; `None` takes all.
    pub fn select(&self, lamina: Option<&str>, polarity: Option<Polarity>) -> Vec<usize> {
        let wanted =
            |n: &Neuron| lamina.is_none_or(|name| n.lamina == name) && polarity.is_none_or(|p| n.polarity == p);
        (0..self.neurons.len()).filter(|&i| wanted(&self.neurons[i])).collect()
    }

    /// Indices of the excitatory neurons of a lamina, ascending, without those of unsure type.
    ///
    /// In the MICrONS V1 column these are the 349, 266, 185 and 383 cells of L2/3, L4, L5 and L6.
    pub fn population(&self, lamina: &str) -> Vec<usize> {
        let mut population = self.select(Some(lamina), Some(Polarity::Excitatory));
        population.retain(|&i| !self.neurons[i].is_unsure());
        population
    }

    /// Synapses between two populations, renumbered by their positions in `post` and `pre`.
    ///
    /// # Panics
    /// If an index is out of range or occurs twice in one of the lists.
    pub fn projection(&self, post: &[usize], pre: &[usize]) -> Synapses {
        self.synapses.block(post, pre)
    }

    /// Number of synapses that each neuron of `post` receives from all inhibitory cells `(N_post)`.
    pub fn inhibitory_synapses_onto(&self, post: &[usize]) -> Vec<u32> {
        let inhibitory = |&(pre, _): &(usize, u32)| self.neurons[pre].polarity == Polarity::Inhibitory;
        let onto = |&i: &usize| self.synapses.row(i).filter(inhibitory).fold(0, |sum: u32, c| sum.saturating_add(c.1));
        post.iter().map(onto).collect()
    }

    /// The connectome without the pairs joined by fewer than `k` synapses.
    pub fn with_min_synapses(mut self, k: u32) -> Self {
        if k > 1 {
            self.synapses = self.synapses.min_synapses(k);
            self.origin = format!("{}, pairs of at least {k} synapses", self.origin);
        }
        self
    }

    /// Hash of all neurons (id, type, lamina, polarity, bits of the position) and synapses (xxh3); not of the origin.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        for n in &self.neurons {
            for text in [n.id.as_str(), &n.cell_type, &n.lamina, n.polarity.letter()] {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            hash.update(&[u8::from(n.position_um.is_some())]);
            for v in n.position_um.into_iter().flatten() {
                hash.update(&v.to_bits().to_le_bytes());
            }
        }
        hash.update(&self.synapses.fingerprint().to_le_bytes());
        hash.digest()
    }
}

/// Distinct laminae of `neurons`: those in `canon` in its order, then the others by first appearance.
fn ordered<'a>(neurons: impl Iterator<Item = &'a Neuron>, canon: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for n in neurons {
        if !names.contains(&n.lamina) {
            names.push(n.lamina.clone());
        }
    }
    names.sort_by_key(|name| canon.iter().position(|c| c == name).unwrap_or(canon.len()));
    names
}

/// Random small connectomes for property tests.
#[cfg(test)]
pub(crate) mod examples {
    use super::*;
    use crate::rng::Rng;

    /// A connectome of up to 30 neurons with awkward names, missing positions and every lamina.
    pub(crate) fn random(seed: u64) -> Connectome {
        let mut rng = Rng::stream(seed, "connectome example", &[]);
        let laminae = ["L2/3", "L4", "L6", "L5", "L1", "cloud, \"9\""];
        let types = ["23P", "4P", "BC", "Unsure E", "a,b", "\"q\""];
        let positions = rng.chance(0.5);
        let neurons: Vec<Neuron> = (0..1 + rng.below(30))
            .map(|i| Neuron {
                id: format!("{}", 864_691_136_723_961_597u64 + i as u64),
                cell_type: types[rng.below(types.len())].to_string(),
                lamina: laminae[rng.below(laminae.len())].to_string(),
                polarity: if rng.chance(0.7) { Polarity::Excitatory } else { Polarity::Inhibitory },
                position_um: positions.then(|| std::array::from_fn(|_| rng.range(-1.0, 900.0))),
            })
            .collect();
        let n = neurons.len();
        let joined: Vec<usize> = (0..n * n).filter(|_| rng.chance(0.2)).collect();
        let connections: Vec<_> = joined.iter().map(|k| (k / n, k % n, 1 + rng.below(9) as u32)).collect();
        let synapses = Synapses::from_connections(n, n, connections).unwrap();
        Connectome { origin: format!("example {seed}"), neurons, synapses, known_pairs: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(lamina: &str, cell_type: &str, polarity: Polarity) -> Neuron {
        Neuron {
            id: String::new(),
            cell_type: cell_type.to_string(),
            lamina: lamina.to_string(),
            polarity,
            position_um: None,
        }
    }

    fn of(neurons: Vec<Neuron>) -> Connectome {
        let n = neurons.len();
        Connectome {
            origin: "test".to_string(),
            neurons,
            synapses: Synapses::all_to_all(n, n, true),
            known_pairs: None,
        }
    }

    #[test]
    fn laminae_from_the_pia_and_in_processing_order() {
        use Polarity::{Excitatory as E, Inhibitory as I};
        let c = of(vec![
            cell("zz", "?", E),
            cell("L6", "6P-IT", E),
            cell("L5", "Unsure E", E),
            cell("aa", "?", E),
            cell("L1", "NGC", I),
            cell("L4", "4P", E),
            cell("L2/3", "23P", E),
        ]);
        assert_eq!(c.laminae(), ["L1", "L2/3", "L4", "L5", "L6", "zz", "aa"]);
        assert_eq!(c.processing_order(), ["L4", "L2/3", "L6", "zz", "aa"]);
        assert_eq!(c.select(Some("L5"), Some(E)), [2]);
        assert!(c.population("L5").is_empty(), "a cell of unsure type is in no population");
        assert_eq!(c.select(None, Some(I)), [4]);
    }

    #[test]
    fn inhibitory_synapses_are_summed_over_the_whole_connectome() {
        for seed in 0..50 {
            let c = examples::random(seed);
            let all: Vec<usize> = (0..c.neurons.len()).collect();
            let inhibitory = c.select(None, Some(Polarity::Inhibitory));
            let block = c.projection(&all, &inhibitory);
            let sums: Vec<u32> = all.iter().map(|&i| block.row(i).map(|c| c.1).sum()).collect();
            assert_eq!(c.inhibitory_synapses_onto(&all), sums);
        }
    }

    #[test]
    fn the_fingerprint_sees_every_field_but_the_origin() {
        let base = of(vec![cell("L4", "4P", Polarity::Excitatory), cell("L5", "BC", Polarity::Inhibitory)]);
        let with = |change: &dyn Fn(&mut Connectome)| {
            let mut c = base.clone();
            change(&mut c);
            c.fingerprint()
        };
        assert_eq!(with(&|c| c.origin.push('x')), base.fingerprint());
        let changes: [&dyn Fn(&mut Connectome); 6] = [
            &|c| c.neurons[0].id.push('x'),
            &|c| c.neurons[0].cell_type.push('x'),
            &|c| c.neurons[0].lamina.push('x'),
            &|c| c.neurons[0].polarity = Polarity::Inhibitory,
            &|c| c.neurons[0].position_um = Some([0.0; 3]),
            &|c| c.synapses = Synapses::all_to_all(2, 2, false),
        ];
        for change in changes {
            assert_ne!(with(change), base.fingerprint());
        }
    }

    #[test]
    fn thinning_keeps_the_strong_pairs_and_says_so() {
        let c = examples::random(3);
        assert_eq!(c.clone().with_min_synapses(1), c);
        let thin = c.clone().with_min_synapses(4);
        assert_eq!(thin.synapses, c.synapses.min_synapses(4));
        assert!(thin.origin.ends_with("at least 4 synapses"), "{}", thin.origin);
    }
}
