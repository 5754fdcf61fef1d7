//! The embedded column: a statistical model of the MICrONS V1 column, drawn anew for each seed.
//!
//! No measured neuron or connection is in it, only published statistics (`data/column_*.csv`, each number with its
//! source). Neuron `i` reaches neuron `j` with the odds
//!
//! `p_ij / (1 - p_ij) = c[type i, type j] · d[lamina i, lamina j] · a_i · b_j · f(distance_ij)`
//!
//! where `f` falls with the distance of the somata as measured for each pair of classes (E or I), and the factors are
//! fitted: `c` so that every pair of types has its published density, `d` so that every pair of lamina and class nearly
//! has, and `a` and `b` so that every neuron nearly has the fan-out and fan-in that was drawn for it from the published
//! distribution of its type. The two directions of a pair are drawn together, so that
//! as many connections are returned as in the data. A connection has a geometric number of synapses with the
//! published mean of its classes.
//!
//! Cells of unsure type (18 of 1,351) are left out, since no statistics exist for them; the slant of the column is not
//! modelled: it stands upright on 100 x 100 um.

mod fit;

use std::ops::Range;

use self::fit::{Factors, lanes};
use super::{Connectome, Neuron, Polarity, Synapses};
use crate::kernels::threads;
use crate::rng::Rng;

/// Side of the column, micrometres (Schneider-Mizell et al. 2025).
const SIDE_UM: f32 = 100.0;
/// Rounds of the fit of all factors.
const ROUNDS: usize = 10;
/// Rounds after these in which only the densities of type pairs are fitted, which are to be met exactly.
const LAST_ROUNDS: usize = 2;
/// Least connection probability at any distance, percent, so that no pair of types is out of each other's reach.
const LEAST_PERCENT: f32 = 0.1;
/// Neurons whose pairs are drawn by one thread: their probabilities lie side by side, in one cache line or two.
const TILE: usize = 16;

const CELLS: &str = include_str!("../../data/column_cells.csv");
const PAIRS: &str = include_str!("../../data/column_pairs.csv");
const LAMINAE: &str = include_str!("../../data/column_laminae.csv");
const DISTANCE: &str = include_str!("../../data/column_distance.csv");
const DEGREES: &str = include_str!("../../data/column_degrees.csv");
const CLASSES: &str = include_str!("../../data/column_classes.csv");
const RECIPROCITY: &str = include_str!("../../data/column_reciprocity.csv");

/// A column drawn from the published statistics; the same for the same seed.
pub fn generate(seed: u64) -> Connectome {
    let cells = Cells::place(seed);
    let p = probabilities(seed, &cells);
    let connections = draw(seed, &cells, &p);
    let n = cells.neurons.len();
    let synapses = Synapses::from_connections(n, n, connections);
    Connectome {
        origin: format!("statistical column, seed {seed}"),
        neurons: cells.neurons,
        synapses: synapses.unwrap_or_else(|problem| panic!("each pair is drawn once: {problem}")),
        known_pairs: None,
    }
}

/// Rows of an embedded table, without its header.
fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().skip(1).map(|line| line.split(',').collect())
}

/// A number of an embedded table.
fn number(field: &str) -> f32 {
    field.parse().unwrap_or_else(|_| panic!("the embedded tables hold numbers, found `{field}`"))
}

/// Neurons in their places; those of one type (as the pair statistics know it) are contiguous.
#[derive(Default)]
struct Cells {
    neurons: Vec<Neuron>,
    /// Position `[x, depth, z]` of each neuron, micrometres `(N)`.
    positions: Vec<[f32; 3]>,
    /// Type of each neuron, index into `starts` `(N)`.
    group: Vec<usize>,
    /// Name of each type.
    names: Vec<&'static str>,
    /// First neuron of each type and, last, N.
    starts: Vec<usize>,
    /// Each row of the census.
    blocks: Vec<Block>,
    /// Laminae and classes: `("L4", "I")`.
    sites: Vec<(&'static str, &'static str)>,
    /// Lamina and class of each neuron, index into `sites` `(N)`.
    site: Vec<usize>,
    /// 0 for an excitatory neuron, 1 for an inhibitory one `(N)`.
    class: Vec<u8>,
}

/// The neurons of one type, lamina and class.
struct Block {
    group: usize,
    /// Index into the sites.
    site: usize,
    neurons: Range<usize>,
}

impl Cells {
    fn place(seed: u64) -> Self {
        let mut cells = Self::default();
        for row in rows(CELLS) {
            let [mean, sd, min, max] = [5, 6, 7, 8].map(|i| number(row[i]));
            if cells.names.last() != Some(&row[1]) {
                cells.names.push(row[1]);
                cells.starts.push(cells.neurons.len());
            }
            let site = cells.sites.iter().position(|s| *s == (row[2], row[3])).unwrap_or(cells.sites.len());
            if site == cells.sites.len() {
                cells.sites.push((row[2], row[3]));
            }
            let first = cells.neurons.len();
            for _ in 0..number(row[4]) as usize {
                let id = cells.neurons.len();
                let mut rng = Rng::stream(seed, "column", &[0, id as u64]);
                let depth = (mean + sd * rng.normal()).clamp(min, max);
                let position = [rng.range(0.0, SIDE_UM), depth, rng.range(0.0, SIDE_UM)];
                cells.positions.push(position);
                cells.group.push(cells.names.len() - 1);
                cells.site.push(site);
                cells.neurons.push(Neuron {
                    id: id.to_string(),
                    cell_type: row[0].to_string(),
                    lamina: row[2].to_string(),
                    polarity: if row[3] == "E" { Polarity::Excitatory } else { Polarity::Inhibitory },
                    position_um: Some(position),
                });
            }
            let neurons = first..cells.neurons.len();
            let polarities = cells.neurons[neurons.clone()].iter().map(|n| n.polarity);
            cells.class.extend(polarities.map(|p| u8::from(p == Polarity::Inhibitory)));
            cells.blocks.push(Block { group: cells.names.len() - 1, site, neurons });
        }
        cells.starts.push(cells.neurons.len());
        cells
    }

    fn members(&self, group: usize) -> Range<usize> {
        self.starts[group]..self.starts[group + 1]
    }

    /// Index of the type called `name`.
    fn named(&self, name: &str) -> usize {
        let group = self.names.iter().position(|n| *n == name);
        group.unwrap_or_else(|| panic!("the embedded tables name the same types, found `{name}`"))
    }

    /// 0 for excitatory, 1 for inhibitory.
    fn class(&self, i: usize) -> usize {
        usize::from(self.class[i])
    }
}

/// Connection probability at each whole micrometre for `[pre class][post class]`, between the middles of the bins.
fn falloff() -> [[Vec<f32>; 2]; 2] {
    let bins: Vec<Vec<f32>> = rows(DISTANCE).map(|row| row[..6].iter().map(|f| number(f)).collect()).collect();
    let at = |um: f32, column: usize| {
        let middle = |b: &[f32]| (b[0] + b[1]) / 2.0;
        let above = bins.iter().position(|b| middle(b) > um).unwrap_or(bins.len());
        let percent = match above {
            0 => bins[0][column],
            k if k == bins.len() => bins[k - 1][column],
            k => {
                let (low, high) = (&bins[k - 1], &bins[k]);
                let t = (um - middle(low)) / (middle(high) - middle(low));
                low[column] + t * (high[column] - low[column])
            }
        };
        percent.max(LEAST_PERCENT) / 100.0
    };
    [[2, 3], [4, 5]].map(|pair| pair.map(|column| (0..1000).map(|um| at(um as f32, column)).collect()))
}

/// Relative fan of the neurons of one type, mean 1: quantiles `[min, p10, p25, p50, p75, p90, max]` of the published
/// fans, drawn together by as much as the draw of the connections will spread them again. `expected` is the fan that
/// each neuron's lamina gives it `(N)`: neurons are ranked by it and by chance, in the proportion of its part of the
/// spread.
fn propensities(quantiles: &[f32], expected: &[f32], rng: &mut Rng) -> Vec<f32> {
    let n = expected.len();
    const AT: [f32; 7] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0];
    let median = quantiles[3];
    // Log-normal between the published points: 2.563 standard deviations from the 10th to the 90th percentile.
    let sd = (quantiles[5] / quantiles[1]).ln() / 2.563;
    let shrink = (1.0 - 1.0 / (median * sd * sd)).max(0.0).sqrt();
    let mut fans: Vec<f32> = (0..n)
        .map(|k| {
            let u = (k as f32 + 0.5) / n as f32;
            let i = (0..6).rev().find(|&i| AT[i] <= u).unwrap_or(0);
            let t = (u - AT[i]) / (AT[i + 1] - AT[i]);
            let ln = quantiles[i].ln() + t * (quantiles[i + 1].ln() - quantiles[i].ln());
            ((ln - median.ln()) * shrink).exp()
        })
        .collect();
    let mean = fans.iter().sum::<f32>() / n as f32;
    fans.iter_mut().for_each(|f| *f /= mean);

    let of_lamina = expected.iter().map(|e| e.max(1.0).ln()).collect::<Vec<f32>>();
    let middle = of_lamina.iter().sum::<f32>() / n as f32;
    let explained = of_lamina.iter().map(|v| (v - middle) * (v - middle)).sum::<f32>() / n as f32;
    let chance = (sd * sd - explained).max(0.01).sqrt();
    let mut ranked: Vec<(f32, usize)> = of_lamina.iter().map(|v| v + chance * rng.normal()).zip(0..n).collect();
    ranked.sort_by(|x, y| x.0.total_cmp(&y.0));
    let mut by_neuron = vec![0.0; n];
    ranked.iter().zip(fans).for_each(|(&(_, i), fan)| by_neuron[i] = fan);
    by_neuron
}

/// Probability that `i` reaches `j` at `[i * N + j]` `(N, N)`; 0 on the diagonal.
fn probabilities(seed: u64, cells: &Cells) -> Vec<f32> {
    let (n, groups, sites) = (cells.neurons.len(), cells.names.len(), cells.sites.len());
    let falloff = falloff();
    let mut p = vec![0.0f32; n * n];
    threads::for_pieces(&mut p, n, n * n, |i, row| {
        let a = cells.positions[i];
        for Block { neurons, .. } in &cells.blocks {
            let falloff = &falloff[cells.class(i)][cells.class(neurons.start)];
            for (f, b) in row[neurons.clone()].iter_mut().zip(&cells.positions[neurons.clone()]) {
                let d2: f32 = (0..3).map(|k| (a[k] - b[k]) * (a[k] - b[k])).sum();
                *f = d2.sqrt().min(999.0);
            }
            row[neurons.clone()].iter_mut().for_each(|f| *f = falloff[*f as usize]);
        }
        row[i] = 0.0;
    });

    // What is to be met: connections of each pair of types and of sites, relative fans within each type.
    let possible = |pre: usize, post: usize, same: bool| (pre * post - if same { pre } else { 0 }) as f32;
    let mut of_types = vec![0.0f32; groups * groups];
    for row in rows(PAIRS) {
        let (g, h) = (cells.named(row[0]), cells.named(row[1]));
        let pairs = possible(cells.members(g).len(), cells.members(h).len(), g == h);
        of_types[g * groups + h] = number(row[4]) * pairs;
    }
    let size = |s: usize| cells.site.iter().filter(|&&t| t == s).count();
    let site = |lamina, class| cells.sites.iter().position(|s| *s == (lamina, class));
    let mut of_sites = vec![0.0f32; sites * sites];
    for row in rows(LAMINAE) {
        if let (Some(s), Some(t)) = (site(row[0], row[1]), site(row[2], row[3])) {
            of_sites[s * sites + t] = number(row[6]) * possible(size(s), size(t), s == t);
        }
    }
    let (mut fan_out, mut fan_in) = (vec![1.0f32; n], vec![1.0f32; n]);
    for row in rows(DEGREES) {
        let group = cells.named(row[0]);
        let members = cells.members(group);
        for (fans, first, stream) in [(&mut fan_out, 1, 1), (&mut fan_in, 9, 2)] {
            let quantiles: Vec<f32> = row[first..first + 7].iter().map(|f| number(f)).collect();
            let of_site = |s: usize| {
                let all: f32 =
                    (0..sites).map(|t| of_sites[if first == 1 { s * sites + t } else { t * sites + s }]).sum();
                all / size(s) as f32
            };
            let per_site: Vec<f32> = (0..sites).map(of_site).collect();
            let expected: Vec<f32> = members.clone().map(|i| per_site[cells.site[i]]).collect();
            let mut rng = Rng::stream(seed, "column", &[stream, group as u64]);
            fans[members.clone()].copy_from_slice(&propensities(&quantiles, &expected, &mut rng));
        }
    }

    // Fitted by iterated scaling: each round multiplies every factor by wanted / found. Factors that can stand in for
    // each other share the correction (the square roots), so that they do not overshoot together.
    let (c, d) = (vec![1.0f32; groups * groups], vec![1.0f32; sites * sites]);
    let mut factors = Factors { a: fan_out.clone(), b: fan_in.clone(), c, d };
    for round in 0..ROUNDS + LAST_ROUNDS {
        let found = factors.found(cells, &p);
        let ratio = |wanted: f32, found: f32| if found > 0.0 { wanted / found } else { 1.0 };
        let last = round >= ROUNDS;
        for (c, (&wanted, found)) in factors.c.iter_mut().zip(of_types.iter().zip(found.types)) {
            *c *= if last { ratio(wanted, found) } else { ratio(wanted, found).sqrt() };
        }
        if last {
            continue;
        }
        for (d, (&wanted, found)) in factors.d.iter_mut().zip(of_sites.iter().zip(found.sites)) {
            *d *= ratio(wanted, found).sqrt();
        }
        for g in 0..groups {
            let m = cells.members(g);
            for (scale, fan, sums) in [(&mut factors.a, &fan_out, &found.out), (&mut factors.b, &fan_in, &found.into)] {
                let mean = lanes(&sums[m.clone()]) / m.len() as f32;
                m.clone().for_each(|i| scale[i] *= ratio(fan[i] * mean, sums[i]));
            }
        }
    }
    threads::for_pieces(&mut p, n, n * n, |i, row| {
        let f = row.to_vec();
        factors.reach(cells, i, &cells.blocks).apply(i, &f, row);
    });
    p
}

/// Draws both directions of every pair together, and the synapses of each connection: `(post, pre, count)`.
fn draw(seed: u64, cells: &Cells, p: &[f32]) -> Vec<(usize, usize, u32)> {
    let n = cells.neurons.len();
    // By the number of inhibitory partners (E-E, E-I, I-I): sums of p, of p p', and of the room up and down from p p'.
    let mut tiles: Vec<usize> = (0..n).step_by(TILE).collect();
    let of_tiles = threads::map_slices(&mut tiles, |_, &mut tile| {
        let mut sums = [[0.0f64; 4]; 3];
        pairs(tile, n, |i, j| {
            let (to, back) = (p[i * n + j], p[j * n + i]);
            let chance = to * back;
            let s = &mut sums[cells.class(i) + cells.class(j)];
            s[0] += f64::from(to + back);
            s[1] += f64::from(chance);
            s[2] += f64::from(to.min(back) - chance);
            s[3] += f64::from(chance - (to + back - 1.0).max(0.0));
        });
        sums
    });
    let mut sums = [[0.0f64; 4]; 3];
    for part in of_tiles {
        sums.as_flattened_mut().iter_mut().zip(part.as_flattened()).for_each(|(sum, part)| *sum += part);
    }
    let mut lean = [0.0f32; 3];
    for (k, row) in rows(RECIPROCITY).enumerate() {
        let (both, one) = (f64::from(number(row[2])), f64::from(number(row[3])));
        let [connections, chance, up, down] = sums[k];
        let missing = connections * both / (2.0 * both + one) - chance;
        let room = if missing > 0.0 { up } else { down };
        lean[k] = if room > 0.0 { (missing / room).clamp(-1.0, 1.0) as f32 } else { 0.0 };
    }
    // ln of the probability that a connection goes on to one more synapse, from the mean count of its classes.
    let mut ln_more = [[0.0f32; 2]; 2];
    for (k, row) in rows(CLASSES).enumerate() {
        ln_more[k / 2][k % 2] = (1.0 - number(row[2]) / number(row[3])).ln();
    }

    let drawn = threads::map_slices(&mut tiles, |_, &mut tile| {
        let stream = |kind| move |i| Rng::stream(seed, "column", &[kind, i as u64]);
        let mut rngs: Vec<Rng> = (tile..tile + TILE).map(stream(3)).collect();
        let mut counts: Vec<Rng> = (tile..tile + TILE).map(stream(4)).collect();
        let mut connections = Vec::new();
        pairs(tile, n, |i, j| {
            let mut join = |pre: usize, post: usize| {
                let more = (1.0 - counts[i - tile].uniform()).ln() / ln_more[cells.class(pre)][cells.class(post)];
                connections.push((post, pre, 1 + more as u32));
            };
            let (to, back) = (p[i * n + j], p[j * n + i]);
            let chance = to * back;
            let lean = lean[cells.class(i) + cells.class(j)];
            let room = if lean > 0.0 { to.min(back) - chance } else { chance - (to + back - 1.0).max(0.0) };
            let both = chance + lean * room;
            let u = rngs[i - tile].uniform();
            if u < to {
                join(i, j);
            }
            if u < both || (u >= to && u < to + back - both) {
                join(j, i);
            }
        });
        connections
    });
    drawn.concat()
}

/// `f` of each pair `(i, j)`, `i < j`, of the neurons `i` of a tile with all of `n`; `j` ascends.
fn pairs(tile: usize, n: usize, mut f: impl FnMut(usize, usize)) {
    for j in tile + 1..n {
        for i in tile..j.min(tile + TILE) {
            f(i, j);
        }
    }
}

#[cfg(test)]
mod tests;
