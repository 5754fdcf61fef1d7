//! Rows of large masks taken a stretch of inputs at a time, so that the activity they meet stays in the second cache.

/// Inputs of a stretch: a tile of two vectors of each is 1 MiB.
const STRETCH: usize = 8192;

/// True where `n` inputs are so many that stretches pay.
pub(super) fn stretched(n: usize) -> bool {
    n > 2 * STRETCH
}

/// For each stretch of `n` inputs, or once for all of them where they are few: `f(starts, ends)` with where the synapses
/// of each row with inputs of the stretch begin and end `(R)`.
///
/// `starts (R + 1)` of the rows; `others` are the inputs of the synapses, ascending in a row.
pub(super) fn each_stretch(n: usize, starts: &[u32], others: &[u32], mut f: impl FnMut(&[u32], &[u32])) {
    let rows = starts.len() - 1;
    if !stretched(n) {
        return f(&starts[..rows], &starts[1..]);
    }
    let (mut from, mut to) = (starts[..rows].to_vec(), vec![0; rows]);
    for first in (0..n).step_by(STRETCH) {
        for ((&from, to), &end) in from.iter().zip(&mut to).zip(&starts[1..]) {
            *to = from + below((first + STRETCH) as u32, &others[from as usize..end as usize]) as u32;
        }
        f(&from, &to);
        std::mem::swap(&mut from, &mut to);
    }
}

/// How many of the ascending `others` are below `limit`.
fn below(limit: u32, others: &[u32]) -> usize {
    let groups = others.as_chunks::<16>().0;
    let whole = 16 * groups.iter().take_while(|group| group[15] < limit).count();
    whole + others[whole..].iter().take_while(|&&other| other < limit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_synapse_is_in_the_stretch_of_its_input() {
        for n in [3, 2 * STRETCH, 2 * STRETCH + 1, 5 * STRETCH + 7] {
            // A row without synapses, one per stretch, one at the very end, all inputs.
            let rows = [vec![], (0..n).step_by(STRETCH).collect(), vec![n - 1], (0..n).collect()];
            let mut starts = vec![0];
            starts.extend(
                rows.iter().scan(0, |s, row: &Vec<usize>| Some(*s + row.len() as u32).inspect(|&end| *s = end)),
            );
            let others: Vec<u32> = rows.iter().flatten().map(|&other| other as u32).collect();
            let mut next = starts[..4].to_vec();
            let mut stretch = 0;
            each_stretch(n, &starts, &others, |from, to| {
                assert_eq!(from, next);
                for (&from, &to) in from.iter().zip(to) {
                    let row = &others[from as usize..to as usize];
                    assert!(!stretched(n) || row.iter().all(|&other| other as usize / STRETCH == stretch));
                }
                next = to.to_vec();
                stretch += 1;
            });
            assert_eq!(next, starts[1..]);
            assert_eq!(stretch, if stretched(n) { n.div_ceil(STRETCH) } else { 1 });
        }
    }
}
