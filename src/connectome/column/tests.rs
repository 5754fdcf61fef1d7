//! The generated column against the statistics that it is made from.

use super::*;

/// Connections between two types.
fn between(c: &Connectome, cells: &Cells, pre: usize, post: usize) -> usize {
    c.projection(&cells.members(post).collect::<Vec<_>>(), &cells.members(pre).collect::<Vec<_>>()).len()
}

#[test]
fn populations_are_those_of_the_census() {
    let c = generate(1);
    assert_eq!(["L2/3", "L4", "L5", "L6"].map(|l| c.population(l).len()), [349, 266, 185, 383]);
    assert_eq!(c.select(None, Some(Polarity::Inhibitory)).len(), 150);
    assert_eq!(c.processing_order(), ["L4", "L2/3", "L5", "L6"]);
}

#[test]
fn seeds_repeat_and_differ() {
    assert_eq!(generate(1), generate(1));
    assert_ne!(generate(1).fingerprint(), generate(2).fingerprint());
}

#[test]
fn any_number_of_threads_draws_the_same_column() {
    let column = generate(3);
    for count in [1, 2, 5] {
        assert_eq!(threads::pool(count).unwrap().run(|| generate(3)), column, "{count} threads");
    }
}

#[test]
fn densities_of_all_pairs_of_types_are_the_published_ones() {
    for seed in 1..=3 {
        let start = std::time::Instant::now();
        let c = generate(seed);
        println!("generated in {:?}, {} connections", start.elapsed(), c.synapses.len());
        let cells = Cells::place(seed);
        let (mut worst, mut squares, mut pairs) = (0.0f64, 0.0, 0);
        for row in rows(PAIRS) {
            let (g, h) = (cells.named(row[0]), cells.named(row[1]));
            let (n, m) = (cells.members(g).len(), cells.members(h).len());
            let possible = (n * m - if g == h { n } else { 0 }) as f64;
            let p = f64::from(number(row[4]));
            let z = (between(&c, &cells, g, h) as f64 - p * possible) / (possible * p * (1.0 - p)).sqrt().max(1.0);
            assert!(z.abs() < 4.5, "seed {seed}: {} to {}: z = {z}", row[0], row[1]);
            (worst, squares, pairs) = (worst.max(z.abs()), squares + z * z, pairs + 1);
        }
        println!("seed {seed}: worst z {worst:.2}, mean square {:.2}", squares / f64::from(pairs));
        assert!(squares / f64::from(pairs) < 1.4, "no pair is far off, but too many are a little");
    }
}

#[test]
fn densities_of_pairs_of_laminae_are_near_the_published_ones() {
    let mut misplaced = 0.0;
    for seed in 1..=3 {
        let (c, cells) = (generate(seed), Cells::place(seed));
        let of = |lamina, class| {
            let site = cells.sites.iter().position(|s| *s == (lamina, class)).unwrap();
            (0..cells.neurons.len()).filter(|&i| cells.site[i] == site).collect::<Vec<_>>()
        };
        let (mut off, mut all) = (0.0, 0.0);
        for row in rows(LAMINAE) {
            let (pre, post) = (of(row[0], row[1]), of(row[2], row[3]));
            let block = c.projection(&post, &pre);
            let pairs = (pre.len() * post.len() - if pre == post { pre.len() } else { 0 }) as f64;
            let (found, published) = (block.len() as f64 / pairs, f64::from(number(row[6])));
            println!("seed {seed} {} {} to {} {}: {found:.4} published {published:.4}", row[0], row[1], row[2], row[3]);
            off += (found - published).abs() * pairs;
            all += published * pairs;
        }
        println!("seed {seed}: {:.3} of the connections in another pair of laminae", off / all / 2.0);
        misplaced += off / all / 2.0;
    }
    assert!(misplaced / 3.0 < 0.05, "{}", misplaced / 3.0);
}

#[test]
fn fans_spread_as_published() {
    for seed in 1..=3 {
        let (c, cells) = (generate(seed), Cells::place(seed));
        for row in rows(DEGREES) {
            let members = cells.members(cells.named(row[0]));
            for (way, first) in [("out", 1), ("in", 9)] {
                let fan = |i: usize| if first == 1 { c.synapses.fan_out(i) } else { c.synapses.fan_in(i) };
                let mut fans: Vec<f32> = members.clone().map(|i| fan(i) as f32).collect();
                fans.sort_by(f32::total_cmp);
                for (q, field) in [(0.1, 1), (0.5, 3), (0.9, 5)] {
                    let found = fans[(q * (fans.len() - 1) as f32).round() as usize];
                    let published = number(row[first + field]);
                    println!("seed {seed} {} {way} {q}: {found} published {published}", row[0]);
                    // Small groups and small numbers scatter more.
                    let slack = 3.0 + published * (0.15 + 1.0 / (members.len() as f32).sqrt());
                    assert!((found - published).abs() < slack, "seed {seed} {} {way} {q}: {found}", row[0]);
                }
            }
        }
    }
}

#[test]
fn as_many_connections_are_returned_as_published() {
    for seed in 1..=3 {
        let (c, cells) = (generate(seed), Cells::place(seed));
        let mut found = [[0.0f64; 2]; 3];
        for (post, pre, _) in c.synapses.iter() {
            let class = &mut found[cells.class(post) + cells.class(pre)];
            class[0] += 1.0;
            class[1] += f64::from(u8::from(c.synapses.contains(pre, post)));
        }
        for (k, row) in rows(RECIPROCITY).enumerate() {
            let (both, one) = (f64::from(number(row[2])), f64::from(number(row[3])));
            let (wanted, got) = (2.0 * both / (2.0 * both + one), found[k][1] / found[k][0]);
            println!("seed {seed} {}-{}: {got:.4} published {wanted:.4}", row[0], row[1]);
            let sd = 2.0 * (wanted / 2.0 / found[k][0]).sqrt();
            assert!((got - wanted).abs() < 4.0 * sd + 0.005, "seed {seed} class {k}: {got} for {wanted}");
        }
    }
}

#[test]
fn synapses_of_a_connection_have_the_published_mean() {
    let (c, cells) = (generate(1), Cells::place(1));
    let mut sums = [[0.0f32; 2]; 4];
    for (post, pre, count) in c.synapses.iter() {
        let s = &mut sums[2 * cells.class(pre) + cells.class(post)];
        *s = [s[0] + 1.0, s[1] + count as f32];
    }
    for (k, row) in rows(CLASSES).enumerate() {
        let (found, published) = (sums[k][1] / sums[k][0], number(row[3]) / number(row[2]));
        assert!((found / published - 1.0).abs() < 0.05, "{} to {}: {found} for {published}", row[0], row[1]);
    }
}

#[test]
fn connections_get_rarer_with_distance() {
    let c = generate(1);
    let e: Vec<usize> = c.population("L2/3");
    let (mut near, mut far) = ([0usize; 2], [0usize; 2]);
    for &i in &e {
        for &j in e.iter().filter(|&&j| j != i) {
            let (a, b) = (c.neurons[i].position_um.unwrap(), c.neurons[j].position_um.unwrap());
            let d: f32 = (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f32>().sqrt();
            let bin = if d < 50.0 { &mut near } else { &mut far };
            bin[0] += 1;
            bin[1] += usize::from(c.synapses.contains(i, j));
        }
    }
    let rate = |bin: [usize; 2]| bin[1] as f64 / bin[0] as f64;
    assert!(rate(near) > 1.3 * rate(far), "{} near, {} far", rate(near), rate(far));
}
