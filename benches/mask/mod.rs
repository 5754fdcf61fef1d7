//! A random mask for benches: a projection without its biology.

use bionic_cpu::connectome::Synapses;
use bionic_cpu::rng::Rng;

/// `n` neurons onto `n`, each pair joined with probability `density`.
pub fn random(n: usize, density: f32) -> Synapses {
    let mut rng = Rng::stream(1, "mask", &[]);
    let pairs = (0..n).flat_map(|post| (0..n).map(move |pre| (post, pre, 1)));
    let joined: Vec<_> = pairs.filter(|_| rng.chance(density)).collect();
    Synapses::from_connections(n, n, joined).expect("each pair occurs once")
}
