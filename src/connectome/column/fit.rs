//! The fit of the column: what the factors of all pairs make of `f(distance)`, and the sums that the fit is after.

use super::{Block, Cells};
use crate::kernels::threads;

/// Postsynaptic neurons whose sums one thread adds, about: a quarter of the column, long enough for long reads.
const PART: usize = 333;

/// What the odds of a pair are made of, beside its distance.
pub(super) struct Factors {
    /// Of each presynaptic neuron `(N)`.
    pub(super) a: Vec<f32>,
    /// Of each postsynaptic neuron `(N)`.
    pub(super) b: Vec<f32>,
    /// Of each pair of types.
    pub(super) c: Vec<f32>,
    /// Of each pair of sites.
    pub(super) d: Vec<f32>,
}

/// Connections to be expected: of each neuron, of each pair of types and of sites.
pub(super) struct Found {
    pub(super) out: Vec<f32>,
    pub(super) into: Vec<f32>,
    pub(super) types: Vec<f32>,
    pub(super) sites: Vec<f32>,
}

impl Factors {
    /// What neurons of the type and site of `i` have in common with each neuron of `blocks`.
    pub(super) fn reach(&self, cells: &Cells, i: usize, blocks: &[Block]) -> Reach<'_> {
        let first = blocks[0].neurons.start;
        let (mut c, mut d) = (Vec::new(), Vec::new());
        for block in blocks {
            let end = block.neurons.end - first;
            c.resize(end, self.c[cells.group[i] * cells.names.len() + block.group]);
            d.resize(end, self.d[cells.site[i] * cells.sites.len() + block.site]);
        }
        Reach { a: &self.a, b: &self.b[first..first + c.len()], c, d }
    }

    /// The sums of the probabilities of all pairs; `f` is `f(distance)` of each `(N, N)`.
    pub(super) fn found(&self, cells: &Cells, f: &[f32]) -> Found {
        let (n, groups, sites) = (cells.neurons.len(), cells.names.len(), cells.sites.len());
        // By postsynaptic neurons, so that each of their sums is added in one order.
        let part = |block: &Block| block.neurons.start / PART;
        let mut parts: Vec<&[Block]> = cells.blocks.chunk_by(|a, b| part(a) == part(b)).collect();
        let sums = threads::map_slices(&mut parts, |_, blocks| {
            let (first, last) = (blocks[0].neurons.start, blocks[blocks.len() - 1].neurons.end);
            let (mut of_blocks, mut into) = (Vec::with_capacity(n * blocks.len()), vec![0.0f32; last - first]);
            let mut row = vec![0.0f32; last - first];
            for pre in &cells.blocks {
                let reach = self.reach(cells, pre.neurons.start, blocks);
                for i in pre.neurons.clone() {
                    reach.apply(i, &f[i * n + first..i * n + last], &mut row);
                    let own = |block: &Block| block.neurons.start - first..block.neurons.end - first;
                    of_blocks.extend(blocks.iter().map(|block| lanes(&row[own(block)])));
                    into.iter_mut().zip(&row).for_each(|(sum, &p)| *sum += p);
                }
            }
            (of_blocks, into)
        });
        let (mut out, mut into) = (vec![0.0f32; n], Vec::with_capacity(n));
        let (mut types, mut of_sites) = (vec![0.0f32; groups * groups], vec![0.0f32; sites * sites]);
        sums.iter().for_each(|(_, part)| into.extend(part));
        for i in 0..n {
            for ((of_blocks, _), blocks) in sums.iter().zip(&parts) {
                for (&sum, block) in of_blocks[i * blocks.len()..].iter().zip(*blocks) {
                    types[cells.group[i] * groups + block.group] += sum;
                    of_sites[cells.site[i] * sites + block.site] += sum;
                    out[i] += sum;
                }
            }
        }
        Found { out, into, types, sites: of_sites }
    }
}

/// The factors of neurons of one type and site and of some postsynaptic neurons.
pub(super) struct Reach<'a> {
    /// Of each presynaptic neuron `(N)`.
    a: &'a [f32],
    /// Of the postsynaptic neurons.
    b: &'a [f32],
    c: Vec<f32>,
    d: Vec<f32>,
}

impl Reach<'_> {
    /// Probability `p` that neuron `i` reaches each of the postsynaptic neurons; `f` is `f(distance)` of each.
    pub(super) fn apply(&self, i: usize, f: &[f32], p: &mut [f32]) {
        let (a, factors) = (self.a[i], self.b.iter().zip(&self.c).zip(&self.d));
        for ((p, &f), ((&b, &c), &d)) in p.iter_mut().zip(f).zip(factors) {
            let odds = a * c * d * b * f;
            *p = odds / (1.0 + odds);
        }
    }
}

/// Sum in eight fixed lanes.
pub(super) fn lanes(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(s, v)| *s += v);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}
