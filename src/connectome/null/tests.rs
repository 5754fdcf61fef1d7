use super::*;
use crate::connectome::{Neuron, Polarity, generate, neurons::examples, write_folder};
use std::collections::BTreeMap;

/// Numbers that a null wiring keeps, by name.
type Kept = BTreeMap<String, u64>;

fn group(n: &Neuron) -> String {
    format!("{} {} {}", n.lamina, n.polarity.letter(), n.is_unsure())
}

/// Connections and synapses of each block of `key`.
fn blocks(c: &Connectome, key: impl Fn(&Neuron) -> String) -> Kept {
    let mut kept = Kept::new();
    for (post, pre, count) in c.synapses.iter() {
        let block = format!("{} -> {}", key(&c.neurons[pre]), key(&c.neurons[post]));
        *kept.entry(format!("connections {block}")).or_default() += 1;
        *kept.entry(format!("synapses {block}")).or_default() += u64::from(count);
    }
    kept
}

/// Fan-in and fan-out of each neuron in each block of laminae.
fn degrees(c: &Connectome) -> Kept {
    let mut kept = Kept::new();
    for (post, pre, count) in c.synapses.iter() {
        *kept.entry(format!("{post} from {}", group(&c.neurons[pre]))).or_default() += 1;
        *kept.entry(format!("{pre} to {}", group(&c.neurons[post]))).or_default() += 1;
        *kept.entry(format!("synapses of {pre} to {}", group(&c.neurons[post]))).or_default() += u64::from(count);
    }
    kept
}

/// Connections of each block of laminae in each bin of 25 um.
fn distances(c: &Connectome) -> Kept {
    let mut kept = Kept::new();
    for (post, pre, _) in c.synapses.iter().filter(|c| c.0 != c.1) {
        let [a, b] = [post, pre].map(|i| c.neurons[i].position_um.unwrap());
        let distance = (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f32>().sqrt();
        let block = format!("{} -> {}", group(&c.neurons[pre]), group(&c.neurons[post]));
        *kept.entry(format!("{block} at {}", (distance / 25.0) as usize)).or_default() += 1;
    }
    kept
}

/// Of each block of laminae: sorted fans, and how many connections are returned within it.
fn graphs(c: &Connectome) -> BTreeMap<String, (Vec<usize>, Vec<usize>, usize)> {
    type Fans = BTreeMap<usize, usize>;
    let mut fans: BTreeMap<String, (Fans, Fans, usize)> = BTreeMap::new();
    for (post, pre, _) in c.synapses.iter().filter(|c| c.0 != c.1) {
        let (from, to) = (group(&c.neurons[pre]), group(&c.neurons[post]));
        let returned = from == to && c.synapses.contains(pre, post);
        let block = fans.entry(format!("{from} -> {to}")).or_default();
        *block.0.entry(post).or_default() += 1;
        *block.1.entry(pre).or_default() += 1;
        block.2 += usize::from(returned);
    }
    let sorted = |m: Fans| {
        let mut v: Vec<usize> = m.into_values().collect();
        v.sort_unstable();
        v
    };
    fans.into_iter().map(|(k, (i, o, r))| (k, (sorted(i), sorted(o), r))).collect()
}

/// Connections that both have.
fn shared(a: &Connectome, b: &Connectome) -> usize {
    a.synapses.iter().filter(|&(post, pre, _)| post != pre && b.synapses.contains(post, pre)).count()
}

fn check(name: &str, original: &Connectome, seed: u64) -> Connectome {
    let null = original.clone().rewired(name, seed).unwrap();
    assert_eq!(null.neurons, original.neurons, "{name}: neurons and their polarity");
    assert_eq!(blocks(&null, group), blocks(original, group), "{name}: connections and synapses of each lamina block");
    let autapses = |c: &Connectome| c.synapses.iter().filter(|c| c.0 == c.1).collect::<Vec<_>>();
    assert_eq!(autapses(&null), autapses(original), "{name}: autapses");
    match name {
        "block-density" => {
            let key = |n: &Neuron| format!("{} {}", group(n), n.cell_type);
            assert_eq!(blocks(&null, key), blocks(original, key), "{name}: connections of each pair of types");
        }
        "degree-preserving" => assert_eq!(degrees(&null), degrees(original), "{name}: fans"),
        "distance-dependent" => assert_eq!(distances(&null), distances(original), "{name}: distances"),
        "shuffled" => assert_eq!(graphs(&null), graphs(original), "{name}: graphs"),
        "erdos-renyi" => {}
        _ => panic!("{name}: say here what it keeps"),
    }
    null
}

#[test]
fn each_null_wiring_keeps_what_it_says_on_awkward_connectomes() {
    for seed in 0..60 {
        let original = examples::random(seed);
        let positions = original.neurons.iter().all(|n| n.position_um.is_some());
        for null in NULL_WIRINGS.iter().filter(|n| positions || n.name != "distance-dependent") {
            check(null.name, &original, seed);
        }
    }
}

#[test]
fn each_null_wiring_keeps_what_it_says_of_the_column_and_destroys_the_rest() {
    let column = generate(1);
    let sum = |kept: Kept| kept.values().sum::<u64>();
    for null in NULL_WIRINGS {
        let a = check(null.name, &column, 1);
        assert_eq!(a, check(null.name, &column, 1), "{}: the same seed, the same wiring", null.name);
        assert_ne!(a.synapses, check(null.name, &column, 2).synapses, "{}: another seed, another wiring", null.name);
        // By chance a block of density p shares a part p of its connections; the column's densest blocks have 0.3.
        let part = shared(&a, &column) as f64 / column.synapses.len() as f64;
        assert!(part < 0.25, "{}: {part:.3} of the connections are as they were", null.name);
        assert!(a.origin.contains(null.name) && a.origin.ends_with(&column.origin), "{}", a.origin);
        // Only the degree-preserving one keeps fans, and each of the others keeps something that it does not.
        assert_eq!(degrees(&a) == degrees(&column), null.name == "degree-preserving", "{}", null.name);
        assert_eq!(distances(&a) == distances(&column), null.name == "distance-dependent", "{}", null.name);
        assert_eq!(graphs(&a) == graphs(&column), null.name == "shuffled", "{}", null.name);
        assert_eq!(sum(degrees(&a)), sum(degrees(&column)));
    }
}

/// A position that is wrong by a factor of a million makes no more bins of distance.
#[test]
fn a_neuron_far_away_costs_no_memory() {
    let mut c = generate(1);
    c.neurons[0].position_um = Some([1e30, 0.0, 0.0]);
    let null = c.clone().rewired("distance-dependent", 1).unwrap();
    assert_eq!(null.synapses.len(), c.synapses.len());
}

#[test]
fn at_least_ten_swaps_per_connection() {
    let mut rng = Rng::stream(1, "test", &[]);
    for block in Blocks::of_laminae(&generate(1)).iter().filter(|b| b.connections.len() > 300) {
        let mut connections = block.connections.to_vec();
        assert_eq!(swap::swap(&mut connections, &mut rng), 10 * connections.len());
    }
    // A star and a complete block allow none, and end.
    let mut star: Vec<Connection> = (1..9).map(|i| (i, 0, 1)).collect();
    assert_eq!(swap::swap(&mut star, &mut rng), 0);
}

#[test]
fn swapping_reaches_every_wiring_of_the_same_fans_alike() {
    // Two neurons onto three others, each with fan-in 1 but one: 2 -> {0, 1}, 3 -> {1, 4}; several wirings share the fans.
    let start = vec![(0, 2, 1), (1, 2, 1), (1, 3, 1), (4, 3, 1), (5, 3, 1)];
    let mut seen: BTreeMap<Vec<(usize, usize)>, usize> = BTreeMap::new();
    let times = 3000;
    for seed in 0..times {
        let mut connections = start.clone();
        swap::swap(&mut connections, &mut Rng::stream(seed, "swap", &[]));
        let mut pairs: Vec<_> = connections.iter().map(|c| (c.0, c.1)).collect();
        pairs.sort_unstable();
        *seen.entry(pairs).or_default() += 1;
    }
    // Fan-in 2 at neuron 1 takes one connection of each; of the other three targets neuron 2 reaches any one.
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.values().all(|&n| n > times as usize / 4), "{seen:?}");
}

#[test]
fn a_null_wiring_says_what_it_lacks() {
    let mut c = generate(1);
    let error = c.clone().rewired("erdos-reny", 1).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("did you mean `erdos-renyi`?"), "{error}");
    c.neurons[3].position_um = None;
    let error = c.clone().rewired("distance-dependent", 1).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains(&c.neurons[3].id), "{error}");
    assert_eq!(c.clone().rewired("none", 1).unwrap(), c);
}

#[test]
fn a_null_wiring_survives_writing_and_reading() {
    let place = tempfile::tempdir().unwrap();
    let null = generate(1).rewired("shuffled", 5).unwrap();
    write_folder(&null, place.path()).unwrap();
    assert_eq!(crate::connectome::read_folder(place.path()).unwrap(), null);
    assert!(null.neurons.iter().any(|n| n.polarity == Polarity::Inhibitory));
}
