//! A random mask for benches: the pattern of a projection without its biology.

use bionic_cpu::kernels::sparse::Pattern;
use bionic_cpu::rng::Rng;

/// CSR of a random mask, and its transpose.
pub struct Mask {
    n_post: usize,
    n_pre: usize,
    pub row_starts: Vec<u32>,
    pub pre: Vec<u32>,
    column_starts: Vec<u32>,
    post: Vec<u32>,
    order: Vec<u32>,
}

impl Mask {
    /// Each pair is joined with probability `density`.
    pub fn random(n_post: usize, n_pre: usize, density: f32) -> Self {
        let mut rng = Rng::stream(1, "mask", &[]);
        let (mut row_starts, mut pre) = (vec![0], Vec::new());
        let mut column_starts = vec![0u32; n_pre + 1];
        for _ in 0..n_post {
            pre.extend((0..n_pre as u32).filter(|_| rng.chance(density)));
            row_starts.push(pre.len() as u32);
        }
        pre.iter().for_each(|&j| column_starts[j as usize + 1] += 1);
        (0..n_pre).for_each(|j| column_starts[j + 1] += column_starts[j]);
        let (mut next, mut post, mut order) = (column_starts.clone(), vec![0; pre.len()], vec![0; pre.len()]);
        for i in 0..n_post {
            for s in row_starts[i]..row_starts[i + 1] {
                let slot = &mut next[pre[s as usize] as usize];
                (post[*slot as usize], order[*slot as usize]) = (i as u32, s);
                *slot += 1;
            }
        }
        Self { n_post, n_pre, row_starts, pre, column_starts, post, order }
    }

    /// The mask as kernels take it.
    pub fn view(&self) -> Pattern<'_> {
        Pattern {
            n_post: self.n_post,
            n_pre: self.n_pre,
            row_starts: &self.row_starts,
            pre: &self.pre,
            column_starts: &self.column_starts,
            post: &self.post,
            order: &self.order,
        }
    }
}
