//! Rows of large masks taken a stretch of inputs at a time, so that the activity they meet stays in the second cache.

use super::panel::with_places;

/// Inputs of a stretch: a tile of two vectors of each is 1 MiB.
const STRETCH: usize = 8192;
/// Synapses of a row in one stretch from which on stretches pay, on average.
const MANY: usize = 64;

/// How a mask's inputs are taken up.
#[derive(Clone, Copy)]
pub(super) struct Stretches {
    count: usize,
}

impl Stretches {
    /// Of a mask of `rows` by `n` inputs.
    pub(super) fn of(n: usize, rows: usize, synapses: usize) -> Self {
        let count = n.div_ceil(STRETCH);
        Self { count: if n > 2 * STRETCH && synapses / count >= MANY * rows { count } else { 1 } }
    }

    /// True if there is more than one.
    pub(super) fn several(self) -> bool {
        self.count > 1
    }

    /// For each stretch: `f(starts, ends)` with where the synapses of each row from its inputs begin and end `(R)`.
    ///
    /// `starts (R + 1)` of some rows; `others` are the inputs of the synapses, ascending in a row.
    pub(super) fn each(self, starts: &[u32], others: &[u32], mut f: impl FnMut(&[u32], &[u32])) {
        let rows = starts.len() - 1;
        if !self.several() {
            return f(&starts[..rows], &starts[1..]);
        }
        with_places(2 * rows, |places| {
            let (mut from, mut to) = places.split_at_mut(rows);
            from.copy_from_slice(&starts[..rows]);
            for stretch in 1..self.count {
                for ((&from, to), &end) in from.iter().zip(&mut *to).zip(&starts[1..]) {
                    *to = from + below(stretch * STRETCH, &others[from as usize..end as usize]) as u32;
                }
                f(from, to);
                std::mem::swap(&mut from, &mut to);
            }
            f(from, &starts[1..]);
        });
    }
}

/// How many of the ascending `others` are below `limit`.
fn below(limit: usize, others: &[u32]) -> usize {
    let below = |&other: &u32| (other as usize) < limit;
    let groups = others.as_chunks::<16>().0;
    let whole = 16 * groups.iter().take_while(|group| below(&group[15])).count();
    whole + others[whole..].iter().take_while(|&other| below(other)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_synapse_is_in_the_stretch_of_its_input() {
        for n in [3, 2 * STRETCH, 2 * STRETCH + 1, 5 * STRETCH + 7] {
            // A row without synapses, one per stretch, one at the very end, all inputs, groups that end in two stretches.
            let rows = [1, STRETCH, n, 3].map(|step| (0..n).step_by(step).collect());
            let rows = [vec![], vec![n - 1]].into_iter().chain(rows).collect::<Vec<Vec<usize>>>();
            let mut starts = vec![0];
            rows.iter().for_each(|row| starts.push(starts[starts.len() - 1] + row.len() as u32));
            let others: Vec<u32> = rows.iter().flatten().map(|&other| other as u32).collect();
            let stretches = Stretches::of(n, rows.len(), others.len());
            let (mut next, mut count) = (starts[..rows.len()].to_vec(), 0);
            stretches.each(&starts, &others, |from, to| {
                assert_eq!(from, next);
                for (&from, &to) in from.iter().zip(to) {
                    let row = &others[from as usize..to as usize];
                    assert!(!stretches.several() || row.iter().all(|&other| other as usize / STRETCH == count));
                }
                next = to.to_vec();
                count += 1;
            });
            assert_eq!(next, starts[1..]);
            assert_eq!(count, if n > 2 * STRETCH { n.div_ceil(STRETCH) } else { 1 });
        }
    }

    #[test]
    fn rows_with_few_synapses_are_taken_whole() {
        let several = |density: f64| Stretches::of(100_000, 1000, (density * 1e8) as usize).several();
        assert_eq!([0.001, 0.005, 0.01, 0.2].map(several), [false, false, true, true]);
        assert!(!Stretches::of(0, 0, 0).several());
    }
}
