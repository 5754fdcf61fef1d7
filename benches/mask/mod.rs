//! A random mask for benches: a projection without its biology.
#![allow(dead_code)] // Each bench uses a part of it.

use bionic_cpu::connectome::Synapses;
use bionic_cpu::rng::Rng;

/// `n_pre` neurons onto `n_post`, each pair joined with probability `density`.
pub fn random(n_post: usize, n_pre: usize, density: f32) -> Synapses {
    let mut rng = Rng::stream(1, "mask", &[]);
    let pairs = (0..n_post).flat_map(|post| (0..n_pre).map(move |pre| (post, pre, 1)));
    let joined: Vec<_> = pairs.filter(|_| rng.chance(density)).collect();
    Synapses::from_connections(n_post, n_pre, joined).expect("each pair occurs once")
}
