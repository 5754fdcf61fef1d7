//! The connectome of a run: density of connections between groups of neurons of one lamina and cell type.

use super::heat::{Colours, cell, short};
use super::numbers::Numbers;
use super::page::{Cell, Page};
use super::svg::{Anchor, INK, NOTE, PLAIN, SMALL, Svg};
use super::text::{count, fixed, percent, shorten, width_px};
use crate::connectome::{Connectome, Polarity, summary};
use std::collections::BTreeMap;

/// Most groups of the heat map; the smallest of the others are merged, so that its size does not grow with a connectome.
const GROUPS: usize = 40;

/// Neurons of one lamina, polarity and cell type.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    lamina: String,
    polarity: Polarity,
    cell_type: String,
    neurons: usize,
}

/// Connections between groups.
struct Blocks {
    groups: Vec<Group>,
    /// Joined pairs `(groups, groups)`, pre by post.
    joined: Vec<usize>,
}

impl Blocks {
    fn of(connectome: &Connectome, most: usize) -> Self {
        let laminae = connectome.laminae();
        let place: BTreeMap<&str, usize> = laminae.iter().enumerate().map(|(i, l)| (l.as_str(), i)).collect();
        let mut sizes: BTreeMap<(usize, Polarity, &str), usize> = BTreeMap::new();
        let key = |i: usize| {
            let n = &connectome.neurons[i];
            (place[n.lamina.as_str()], n.polarity, n.cell_type.as_str())
        };
        (0..connectome.neurons.len()).for_each(|i| *sizes.entry(key(i)).or_default() += 1);
        // Where there are too many, the smallest are merged, within lamina and polarity and then all together.
        let mut by_size: Vec<_> = sizes.iter().map(|(&key, &n)| (n, key)).collect();
        by_size.sort_by_key(|&(n, key)| (std::cmp::Reverse(n), key));
        let rest = 2 * laminae.len();
        let kept = if by_size.len() <= most { most } else { most.saturating_sub(rest).max(most / 2) };
        let mut groups: Vec<Group> = Vec::new();
        let mut index = BTreeMap::new();
        let large: BTreeMap<_, _> = by_size.iter().take(kept).map(|&(n, key)| (key, n)).collect();
        for (&(lamina, polarity, cell_type), &neurons) in &large {
            index.insert((lamina, polarity, cell_type), groups.len());
            groups.push(Group { lamina: laminae[lamina].clone(), polarity, cell_type: cell_type.to_owned(), neurons });
        }
        for &(neurons, key) in by_size.iter().skip(kept) {
            let (lamina, polarity, _) = key;
            let fits = groups.len() < most || groups.iter().any(|g| g.is_rest_of(&laminae[lamina], polarity));
            let (lamina, polarity) = if fits { (laminae[lamina].as_str(), polarity) } else { ("", polarity) };
            let at = groups.iter().position(|g| g.is_rest_of(lamina, polarity)).unwrap_or_else(|| {
                let cell_type = String::new();
                groups.push(Group { lamina: lamina.to_owned(), polarity, cell_type, neurons: 0 });
                groups.len() - 1
            });
            groups[at].neurons += neurons;
            index.insert(key, at);
        }
        let group: Vec<usize> = (0..connectome.neurons.len()).map(|i| index[&key(i)]).collect();
        // Into the order of the laminae.
        let mut order: Vec<usize> = (0..groups.len()).collect();
        let rank = |g: &Group| {
            let lamina = place.get(g.lamina.as_str()).copied().unwrap_or(usize::MAX);
            (lamina, g.polarity, g.cell_type.is_empty(), g.cell_type.clone())
        };
        order.sort_by_key(|&g| rank(&groups[g]));
        let mut position = vec![0; groups.len()];
        order.iter().enumerate().for_each(|(to, &from)| position[from] = to);
        let mut joined = vec![0; groups.len() * groups.len()];
        let n = groups.len();
        connectome
            .synapses
            .iter()
            .for_each(|(post, pre, _)| joined[position[group[pre]] * n + position[group[post]]] += 1);
        Self { groups: order.iter().map(|&g| groups[g].clone()).collect(), joined }
    }

    /// Possible pairs, without autapses.
    fn pairs(&self, pre: usize, post: usize) -> u64 {
        let (a, b) = (self.groups[pre].neurons as u64, self.groups[post].neurons as u64);
        if pre == post { a * (a - 1) } else { a * b }
    }

    fn joined(&self, pre: usize, post: usize) -> usize {
        self.joined[pre * self.groups.len() + post]
    }

    /// Connections per possible pair; `None` without such a pair.
    fn density(&self, pre: usize, post: usize) -> Option<f64> {
        let pairs = self.pairs(pre, post);
        (pairs > 0).then(|| self.joined(pre, post) as f64 / pairs as f64)
    }
}

impl Group {
    fn is_rest_of(&self, lamina: &str, polarity: Polarity) -> bool {
        self.cell_type.is_empty() && self.lamina == lamina && self.polarity == polarity
    }

    /// What it is called beside a row.
    fn name(&self) -> String {
        let lamina = if self.lamina.is_empty() { "other laminae" } else { &self.lamina };
        let kind = if self.cell_type.is_empty() { "other types" } else { &self.cell_type };
        format!("{lamina} {kind}")
    }
}

/// Appends the section about the wiring.
pub(super) fn append(page: &mut Page, connectome: &Connectome) {
    page.section("Connectome");
    let s = summary(connectome);
    page.paragraph(&format!(
        "{}. {} neurons, {} connections (joined pairs), {} synapses; {} % of the possible pairs are joined, {} % of the \
         connections are returned.",
        s.origin,
        count(s.neurons),
        count(s.connections),
        count(usize::try_from(s.synapses).unwrap_or(usize::MAX)),
        percent(s.density, 2),
        percent(s.reciprocity, 1)
    ));
    page.warning(&s.note);
    let blocks = Blocks::of(connectome, GROUPS);
    if !blocks.groups.is_empty() {
        map(page, &blocks);
    }
    let mut numbers = Numbers::new(
        "cell_types",
        &[
            "cell_type",
            "class",
            "neurons",
            "fan_out_p10",
            "fan_out_p50",
            "fan_out_p90",
            "fan_in_p10",
            "fan_in_p50",
            "fan_in_p90",
        ],
    );
    let mut rows = Vec::new();
    for t in &s.cell_types {
        let (o, i) = (t.fan_out, t.fan_in);
        numbers.row(&[&t.cell_type, &t.class, &t.neurons, &o.p10, &o.p50, &o.p90, &i.p10, &i.p50, &i.p90]);
        let spread = |q: &crate::connectome::Quantiles| format!("{} ({}\u{2013}{})", q.p50, q.p10, q.p90);
        let cells = [t.cell_type.clone(), t.class.to_owned(), count(t.neurons), spread(&o), spread(&i)];
        rows.push(cells.map(Cell::from).to_vec());
    }
    const TYPES: usize = 60;
    let more = if rows.len() > TYPES { format!(" (the first {TYPES} of {})", rows.len()) } else { String::new() };
    rows.truncate(TYPES);
    page.table(
        &format!("Partners of a neuron by cell type: median (10th to 90th percentile){more}"),
        "llrrr",
        &["type", "class", "neurons", "postsynaptic partners", "presynaptic partners"],
        &rows,
    );
    page.keep(numbers);
}

/// The heat map.
fn map(page: &mut Page, blocks: &Blocks) {
    let n = blocks.groups.len();
    let mut numbers = Numbers::new(
        "connectome_density",
        &[
            "pre_lamina",
            "pre_class",
            "pre_type",
            "post_lamina",
            "post_class",
            "post_type",
            "pairs",
            "connections",
            "density",
        ],
    );
    let all = || (0..n).flat_map(|pre| (0..n).map(move |post| (pre, post)));
    for (pre, post) in all() {
        let (g, h) = (&blocks.groups[pre], &blocks.groups[post]);
        let kind = |g: &Group| if g.cell_type.is_empty() { "other types".to_owned() } else { g.cell_type.clone() };
        numbers.row(&[
            &g.lamina,
            &g.polarity.letter(),
            &kind(g),
            &h.lamina,
            &h.polarity.letter(),
            &kind(h),
            &blocks.pairs(pre, post),
            &blocks.joined(pre, post),
            &super::numbers::Maybe(blocks.density(pre, post)),
        ]);
    }
    let densest = all().filter_map(|(a, b)| Some((blocks.density(a, b)?, a, b))).max_by(|a, b| a.0.total_cmp(&b.0));
    let (high, description) = match densest {
        Some((d, pre, post)) if d > 0.0 => (
            d,
            format!(
                "{n} groups of neurons; the densest block is {} to {} with {} percent of its possible pairs.",
                blocks.groups[pre].name(),
                blocks.groups[post].name(),
                percent(d, 1)
            ),
        ),
        _ => (0.01, format!("{n} groups of neurons, none connected.")),
    };
    let labels: Vec<String> = blocks.groups.iter().map(|g| format!("{} ({})", g.name(), count(g.neurons))).collect();
    let room = labels.iter().map(|l| width_px(l, SMALL)).fold(40.0, f64::max).min(190.0);
    let (left, top) = (room + 34.0, room + 34.0);
    let side = ((940.0 - left - 104.0) / n as f64).clamp(10.0, 46.0);
    let extent = side * n as f64;
    let title = "Density of connections by lamina and cell type";
    let mut svg = Svg::new(left + extent + 104.0, top + extent + 8.0, title, &description);
    svg.turned(12.0, top + extent / 2.0, -90.0, Anchor::Middle, PLAIN, "presynaptic group (neurons)");
    svg.text(left + extent / 2.0, 14.0, Anchor::Middle, PLAIN, "postsynaptic group (neurons)");
    let colours = Colours { low: 0.0, high: 100.0 * high, root: true };
    for (i, label) in labels.iter().enumerate() {
        let middle = side * (i as f64 + 0.5);
        let label = shorten(label, SMALL, room);
        svg.text(left - 6.0, top + middle + 3.8, Anchor::End, NOTE, &label);
        svg.turned(left + middle + 3.8, top - 6.0, -90.0, Anchor::Start, NOTE, &label);
    }
    let font = if side >= 30.0 { 10.5 } else { 9.0 };
    for (pre, post) in all() {
        let at = (left + side * post as f64, top + side * pre as f64);
        match blocks.density(pre, post) {
            Some(d) => {
                let text = if d > 0.0 { short(100.0 * d) } else { String::new() };
                let lines: &[(f64, &str)] = if side >= 20.0 && !text.is_empty() { &[(font, &text)] } else { &[] };
                cell(&mut svg, at, (side, side), colours.of(100.0 * d), lines);
            }
            // One neuron has no partner of its own group.
            None => svg.rect(at.0, at.1, side, side, "fill=\"#ddd\""),
        }
    }
    for i in 0..=n {
        // Between laminae.
        let border = i == 0 || i == n || blocks.groups[i - 1].lamina != blocks.groups[i].lamina;
        if border {
            let (x, y, style) = (left + side * i as f64, top + side * i as f64, format!("stroke=\"{INK}\""));
            svg.line((x, top), (x, top + extent), &style);
            svg.line((left, y), (left + extent, y), &style);
        }
    }
    colours.bar(&mut svg, left + extent + 18.0, top, extent.min(260.0), &["density", "(% of pairs)"]);
    page.figure(
        &[svg],
        &format!(
            "Joined pairs in percent of all possible ones from each presynaptic group (rows) to each postsynaptic group \
             (columns), autapses left out; lines separate laminae. White: no connection found; grey: no such pair. \
             Colours follow the square root. Densities are lower bounds where axons are not fully traced; the densest \
             block has {} %.",
            fixed(100.0 * high, 1)
        ),
        numbers,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectome::{Neuron, Synapses, generate};

    fn many_types(n: usize, types: usize) -> Connectome {
        let neuron = |i: usize| Neuron {
            id: i.to_string(),
            cell_type: format!("type {} <script>", i % types),
            lamina: format!("L{}", i % 7),
            polarity: if i.is_multiple_of(5) { Polarity::Inhibitory } else { Polarity::Excitatory },
            position_um: None,
        };
        let connections = (0..n).map(|i| (i, (i + 1) % n, 2));
        Connectome {
            origin: "<script>".into(),
            neurons: (0..n).map(neuron).collect(),
            synapses: Synapses::from_connections(n, n, connections.collect::<Vec<_>>()).unwrap(),
            known_pairs: None,
        }
    }

    #[test]
    fn blocks_add_up_to_the_connectome() {
        for (connectome, most) in [(generate(1), GROUPS), (many_types(3000, 997), GROUPS), (many_types(3000, 997), 4)] {
            let blocks = Blocks::of(&connectome, most);
            let n = connectome.neurons.len();
            assert!(blocks.groups.len() <= most + 2, "{} groups", blocks.groups.len());
            assert_eq!(blocks.groups.iter().map(|g| g.neurons).sum::<usize>(), n);
            assert_eq!(blocks.joined.iter().sum::<usize>(), connectome.synapses.len());
            let k = blocks.groups.len();
            let pairs: u64 = (0..k * k).map(|i| blocks.pairs(i / k, i % k)).sum();
            assert_eq!(pairs, (n * (n - 1)) as u64);
        }
    }

    #[test]
    fn laminae_stand_from_the_pia_down_and_excitatory_types_first() {
        let blocks = Blocks::of(&generate(1), GROUPS);
        let laminae: Vec<&str> = blocks.groups.iter().map(|g| g.lamina.as_str()).collect();
        let mut different = laminae.clone();
        different.dedup();
        assert_eq!(different, ["L1", "L2/3", "L4", "L5", "L6"]);
        assert_eq!(blocks.groups.iter().find(|g| g.lamina == "L4").unwrap().cell_type, "4P");
    }

    #[test]
    fn a_cell_type_called_script_stays_text() {
        let mut page = Page::new("t", "l", "f");
        append(&mut page, &many_types(30, 3));
        let (text, _) = page.finish();
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;"));
    }

    #[test]
    fn ten_thousand_types_make_no_longer_page_than_forty() {
        let mut page = Page::new("t", "l", "f");
        append(&mut page, &many_types(20_000, 10_000));
        assert!(page.finish().0.len() < 600_000);
    }
}
