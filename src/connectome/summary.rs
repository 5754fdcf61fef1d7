//! What a connectome looks like: counts, densities, fans, and how much of it is known.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Connectome, Polarity};

/// Numbers that describe a connectome; serializes to the JSON of `connectome inspect --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Where it came from.
    pub origin: String,
    /// Hash of neurons and synapses, 16 hexadecimal digits.
    pub fingerprint: String,
    /// Number of neurons.
    pub neurons: usize,
    /// Number of joined pairs.
    pub connections: usize,
    /// Number of synapses, all counts together.
    pub synapses: u64,
    /// Connections per possible pair, without autapses in the number of pairs.
    pub density: f64,
    /// Part of the connections that are returned.
    pub reciprocity: f64,
    /// Part of the ordered pairs whose state is known, if the source tells.
    pub known_pairs: Option<f64>,
    /// What the densities mean, given how much is known.
    pub note: String,
    /// Neurons of each lamina, from pia to white matter.
    pub laminae: Vec<LaminaRow>,
    /// Laminae in processing order with the sizes of their populations.
    pub processing: Vec<PopulationRow>,
    /// Neurons and fans of each cell type, excitatory first.
    pub cell_types: Vec<TypeRow>,
    /// Density of each pair of lamina and class that has neurons.
    pub densities: Vec<DensityRow>,
}

/// Neurons of one lamina.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaminaRow {
    /// Name.
    pub lamina: String,
    /// Excitatory neurons.
    pub excitatory: usize,
    /// Inhibitory neurons.
    pub inhibitory: usize,
}

/// Excitatory neurons of sure type of one lamina.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PopulationRow {
    /// Name.
    pub lamina: String,
    /// Number of neurons.
    pub neurons: usize,
}

/// One cell type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TypeRow {
    /// Name.
    pub cell_type: String,
    /// `E` or `I`.
    pub class: &'static str,
    /// Number of neurons.
    pub neurons: usize,
    /// Postsynaptic partners.
    pub fan_out: Quantiles,
    /// Presynaptic partners.
    pub fan_in: Quantiles,
}

/// Spread of a count over neurons (nearest rank).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Least.
    pub min: usize,
    /// 10th percentile.
    pub p10: usize,
    /// Median.
    pub p50: usize,
    /// 90th percentile.
    pub p90: usize,
    /// Largest.
    pub max: usize,
    /// Mean.
    pub mean: f64,
}

/// Connections between two groups of neurons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DensityRow {
    /// Presynaptic lamina.
    pub pre_lamina: String,
    /// Presynaptic class, `E` or `I`.
    pub pre_class: &'static str,
    /// Postsynaptic lamina.
    pub post_lamina: String,
    /// Postsynaptic class, `E` or `I`.
    pub post_class: &'static str,
    /// Possible pairs, without autapses.
    pub pairs: u64,
    /// Joined pairs.
    pub connections: usize,
    /// Connections per possible pair; 0 where there is none.
    pub density: f64,
}

/// Describes a connectome.
pub fn summary(connectome: &Connectome) -> Summary {
    let (neurons, synapses) = (&connectome.neurons, &connectome.synapses);
    let n = neurons.len() as u64;
    let laminae = connectome.laminae();
    let count = |lamina: &str, polarity| connectome.select(Some(lamina), Some(polarity)).len();
    let lamina_row = |lamina: &String| LaminaRow {
        lamina: lamina.clone(),
        excitatory: count(lamina, Polarity::Excitatory),
        inhibitory: count(lamina, Polarity::Inhibitory),
    };
    let population = |lamina: String| PopulationRow { neurons: connectome.population(&lamina).len(), lamina };
    Summary {
        origin: connectome.origin.clone(),
        fingerprint: format!("{:016x}", connectome.fingerprint()),
        neurons: neurons.len(),
        connections: synapses.len(),
        synapses: synapses.total(),
        density: ratio(synapses.len(), n * n.saturating_sub(1)),
        reciprocity: synapses.reciprocity(),
        known_pairs: connectome.known_pairs,
        note: note(connectome.known_pairs),
        processing: connectome.processing_order().into_iter().map(population).collect(),
        cell_types: cell_types(connectome),
        densities: densities(connectome, &laminae),
        laminae: laminae.iter().map(lamina_row).collect(),
    }
}

/// What the densities mean, by the part of the ordered pairs whose state is known.
pub fn note(known_pairs: Option<f64>) -> String {
    let bound = "Where axons are traced in part only, as in most measured connectomes, densities are lower bounds.";
    match known_pairs {
        Some(known) if known < 1.0 => format!(
            "The state of {:.1} % of the ordered pairs is known; of the others, a pair that is not joined here is \
             unknown, not unconnected. {bound}",
            known * 100.0
        ),
        Some(_) => "The state of every ordered pair is known: densities are complete.".to_string(),
        None => bound.to_string(),
    }
}

fn ratio(part: usize, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn cell_types(connectome: &Connectome) -> Vec<TypeRow> {
    let mut groups: Vec<((Polarity, &str), Vec<usize>)> = Vec::new();
    let mut index = HashMap::new();
    for (i, n) in connectome.neurons.iter().enumerate() {
        let key = (n.polarity, n.cell_type.as_str());
        let at = *index.entry(key).or_insert_with(|| {
            groups.push((key, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(i);
    }
    groups.sort_by_key(|(key, _)| *key);
    let row = |((polarity, name), members): ((Polarity, &str), Vec<usize>)| TypeRow {
        cell_type: name.to_string(),
        class: polarity.letter(),
        neurons: members.len(),
        fan_out: quantiles(members.iter().map(|&i| connectome.synapses.fan_out(i)).collect()),
        fan_in: quantiles(members.iter().map(|&i| connectome.synapses.fan_in(i)).collect()),
    };
    groups.into_iter().map(row).collect()
}

/// Quantiles of at least one count.
fn quantiles(mut counts: Vec<usize>) -> Quantiles {
    counts.sort_unstable();
    let last = counts.len() - 1;
    let at = |percent: usize| counts[(percent * last + 50) / 100];
    let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    Quantiles { min: counts[0], p10: at(10), p50: at(50), p90: at(90), max: counts[last], mean }
}

fn densities(connectome: &Connectome, laminae: &[String]) -> Vec<DensityRow> {
    let class = |p: Polarity| usize::from(p == Polarity::Inhibitory);
    let position: HashMap<&str, usize> = laminae.iter().enumerate().map(|(k, name)| (name.as_str(), 2 * k)).collect();
    let group: Vec<usize> =
        connectome.neurons.iter().map(|n| position[n.lamina.as_str()] + class(n.polarity)).collect();
    let groups = 2 * laminae.len();
    let (mut sizes, mut joined) = (vec![0u64; groups], vec![0usize; groups * groups]);
    group.iter().for_each(|&g| sizes[g] += 1);
    connectome.synapses.iter().for_each(|(post, pre, _)| joined[group[pre] * groups + group[post]] += 1);
    let letter = |g: usize| ["E", "I"][g % 2];
    let mut rows = Vec::new();
    for g in (0..groups).filter(|&g| sizes[g] > 0) {
        for h in (0..groups).filter(|&h| sizes[h] > 0) {
            let pairs = sizes[g] * if g == h { sizes[h] - 1 } else { sizes[h] };
            rows.push(DensityRow {
                pre_lamina: laminae[g / 2].clone(),
                pre_class: letter(g),
                post_lamina: laminae[h / 2].clone(),
                post_class: letter(h),
                pairs,
                connections: joined[g * groups + h],
                density: ratio(joined[g * groups + h], pairs),
            });
        }
    }
    rows
}

impl Summary {
    /// The summary as aligned tables for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}\nfingerprint {}\n", self.origin, self.fingerprint);
        let _ = writeln!(
            text,
            "{} neurons, {} connections, {} synapses, density {:.2} %, {:.1} % of connections returned",
            self.neurons,
            self.connections,
            self.synapses,
            self.density * 100.0,
            self.reciprocity * 100.0
        );
        let _ = writeln!(text, "{}\n", self.note);

        let mut rows = vec![["lamina", "E", "I"].map(String::from).to_vec()];
        rows.extend(
            self.laminae.iter().map(|l| vec![l.lamina.clone(), l.excitatory.to_string(), l.inhibitory.to_string()]),
        );
        table(&mut text, &rows);
        let order: Vec<String> = self.processing.iter().map(|p| format!("{} ({})", p.lamina, p.neurons)).collect();
        let _ = writeln!(text, "processing order: {}\n", order.join(" -> "));

        let spread = |q: &Quantiles| [q.p10, q.p50, q.p90].map(|v| v.to_string());
        let mut rows = vec![vec!["type".into(), "class".into(), "neurons".into()]];
        for way in ["out", "in"] {
            rows[0].extend(["p10", "p50", "p90"].map(|q| format!("{way} {q}")));
        }
        for t in &self.cell_types {
            let mut row = vec![t.cell_type.clone(), t.class.to_string(), t.neurons.to_string()];
            row.extend(spread(&t.fan_out).into_iter().chain(spread(&t.fan_in)));
            rows.push(row);
        }
        table(&mut text, &rows);

        let _ = writeln!(text, "\ndensity in percent (rows pre, columns post)");
        let mut rows: Vec<Vec<String>> = vec![vec!["pre".into()]];
        for d in &self.densities {
            let (pre, post) =
                (format!("{} {}", d.pre_lamina, d.pre_class), format!("{} {}", d.post_lamina, d.post_class));
            if rows.last().is_some_and(|row| row[0] != pre) {
                rows.push(vec![pre]);
            }
            if rows.len() == 2 {
                rows[0].push(post);
            }
            let cell = if d.pairs == 0 { "-".to_string() } else { format!("{:.2}", d.density * 100.0) };
            if let Some(row) = rows.last_mut() {
                row.push(cell);
            }
        }
        table(&mut text, &rows);
        text
    }
}

/// Appends rows with aligned columns: the first to the left, the others to the right.
fn table(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |k: usize| rows.iter().filter_map(|row| row.get(k)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        for (k, cell) in row.iter().enumerate() {
            let _ = if k == 0 {
                write!(text, "{cell:<w$}", w = widths[k])
            } else {
                write!(text, "  {cell:>w$}", w = widths[k])
            };
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectome::neurons::examples;
    use crate::connectome::{Synapses, generate};

    #[test]
    fn parts_add_up_to_the_whole() {
        for seed in 0..60 {
            let c = examples::random(seed);
            let s = summary(&c);
            assert_eq!(s.laminae.iter().map(|l| l.excitatory + l.inhibitory).sum::<usize>(), s.neurons);
            assert_eq!(s.cell_types.iter().map(|t| t.neurons).sum::<usize>(), s.neurons);
            assert_eq!(s.densities.iter().map(|d| d.connections).sum::<usize>(), s.connections);
            let n = s.neurons as u64;
            assert_eq!(s.densities.iter().map(|d| d.pairs).sum::<u64>(), n * (n - 1));
            let out: f64 = s.cell_types.iter().map(|t| t.fan_out.mean * t.neurons as f64).sum();
            assert!((out - s.connections as f64).abs() < 1e-6);
            let lines = s.to_text();
            assert!(c.neurons.iter().all(|n| lines.contains(&n.cell_type) && lines.contains(&n.lamina)));
        }
    }

    #[test]
    fn nothing_at_all_is_described_too() {
        let synapses = Synapses::all_to_all(0, 0, true);
        let empty = Connectome { origin: "empty".to_string(), neurons: Vec::new(), synapses, known_pairs: None };
        let s = summary(&empty);
        assert_eq!((s.density, s.reciprocity), (0.0, 0.0));
        assert!(s.to_text().contains("0 neurons"));
    }

    #[test]
    fn the_note_tells_what_is_not_known() {
        assert!(note(Some(0.623)).starts_with("The state of 62.3 % of the ordered pairs is known"));
        assert!(note(None).contains("lower bounds") && !note(Some(1.0)).contains("unknown"));
    }

    #[test]
    fn text_and_json_of_the_column() {
        let s = summary(&generate(1));
        let text = s.to_text();
        assert!(text.contains("processing order: L4 (266) -> L2/3 (349) -> L5 (185) -> L6 (383)"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let json = serde_json::to_value(&s).unwrap();
        assert_eq!(json["laminae"][1]["excitatory"], 349);
        assert_eq!(json["cell_types"].as_array().unwrap().len(), 13);
    }

    #[test]
    fn quantiles_by_nearest_rank() {
        let q = quantiles((0..=100).rev().collect());
        assert_eq!((q.min, q.p10, q.p50, q.p90, q.max, q.mean), (0, 10, 50, 90, 100, 50.0));
        assert_eq!(quantiles(vec![7]).p90, 7);
    }
}
