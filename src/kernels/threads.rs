//! Splitting an output over threads, in pieces fixed by its shape and never by the number of threads.

use rayon::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Work below this many multiply-adds stays on the calling thread: waking a worker costs 10 to 40 microseconds.
/// Tests split everything, so that small shapes compare one thread with two as well.
const PARALLEL_FROM: usize = if cfg!(test) { 1 } else { 200_000 };

thread_local! {
    /// True while this worker is [`alone`] with its work.
    static ALONE: Cell<bool> = const { Cell::new(false) };
    /// True while this worker is in [`work_until`].
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// True where kernels may share out their work: there are several workers, and this one is not [`alone`].
pub fn sharing() -> bool {
    !ALONE.get() && workers() > 1
}

/// Runs `f` on the calling thread, which shares nothing of it with other workers.
pub fn alone<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    f()
}

/// Processor time that this process has used, all its threads together.
pub fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// True where several workers may share `work` multiply-adds.
fn shared(work: usize) -> bool {
    work >= PARALLEL_FROM && sharing()
}

/// Workers of the pool that the caller runs on; 1 outside of a pool, where no thread is started unasked.
pub fn workers() -> usize {
    rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads())
}

/// `f(i, slice)` of each slice of a batch, in their order, on one worker each. Where there are as many slices as workers,
/// the kernels within do not split their work further: each slice stays in the cache of its core.
pub fn map_slices<S: Send, T: Send>(slices: &mut [S], f: impl Fn(usize, &mut S) -> T + Sync + Send) -> Vec<T> {
    let count = slices.len();
    let whole = count >= workers();
    let mut results: Vec<(&mut S, Option<T>)> = slices.iter_mut().map(|slice| (slice, None)).collect();
    each_piece([&mut results], 1, 0..count, 1, sharing(), &|i, pieces| {
        for (slice, result) in pieces.iter_mut().flat_map(|piece| &mut **piece) {
            *result = Some(if whole { alone(|| f(i, slice)) } else { f(i, slice) });
        }
    });
    results.into_iter().filter_map(|(_, result)| result).collect()
}

/// Calls `f(i, piece)` for each `piece_len` long piece of `out` (the last may be shorter), on several threads where
/// `work` (multiply-adds in total) is worth it. Each piece is written by one call.
pub fn for_pieces<T: Send>(out: &mut [T], piece_len: usize, work: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    let piece_len = piece_len.max(1);
    if !shared(work) {
        out.chunks_mut(piece_len).enumerate().for_each(|(i, piece)| f(i, piece));
    } else {
        out.par_chunks_mut(piece_len).enumerate().for_each(|(i, piece)| f(i, piece));
    }
}

/// As [`for_pieces`] over two outputs cut at the same places: piece `i` of `a` (`len_a` long) with piece `i` of `b`.
pub fn for_piece_pairs<T: Send, U: Send>(
    a: &mut [T],
    len_a: usize,
    b: &mut [U],
    len_b: usize,
    work: usize,
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync + Send,
) {
    let (len_a, len_b) = (len_a.max(1), len_b.max(1));
    if !shared(work) {
        a.chunks_mut(len_a).zip(b.chunks_mut(len_b)).enumerate().for_each(|(i, (x, y))| f(i, x, y));
    } else {
        a.par_chunks_mut(len_a).zip(b.par_chunks_mut(len_b)).enumerate().for_each(|(i, (x, y))| f(i, x, y));
    }
}

/// As [`for_pieces`] over planes cut at the same places: calls `f(group, piece, planes)` for each group of up to `P`
/// planes of `out`, each `plane_len` long, and each piece of the group; `planes[c]` is piece `piece` (`piece_len` long,
/// the last may be shorter) of plane `group * P + c`.
pub fn for_plane_pieces<const P: usize>(
    out: &mut [f32],
    plane_len: usize,
    piece_len: usize,
    work: usize,
    f: impl Fn(usize, usize, &mut [&mut [f32]]) + Sync + Send,
) {
    let (plane_len, piece_len) = (plane_len.max(1), piece_len.max(1));
    let parallel = shared(work);
    for_pieces(out, P * plane_len, work, |group, group_out| {
        let n = group_out.len().div_ceil(plane_len);
        let mut planes = [const { None }; P];
        for (slot, plane) in planes.iter_mut().zip(group_out.chunks_mut(plane_len)) {
            *slot = Some(plane);
        }
        let planes = planes.map(Option::unwrap_or_default);
        each_piece(planes, n, 0..plane_len.div_ceil(piece_len), piece_len, parallel, &|i, planes| f(group, i, planes));
    });
}

/// As [`for_pieces`] over `P` outputs of the same length, cut at the same places: `outs[c]` is piece `i` of output `c`.
pub(super) fn for_pieces_of<const P: usize, T: Send>(
    outs: [&mut [T]; P],
    piece_len: usize,
    work: usize,
    f: impl Fn(usize, &mut [&mut [T]]) + Sync + Send,
) {
    let (piece_len, len) = (piece_len.max(1), outs.first().map_or(0, |out| out.len()));
    if len > 0 {
        each_piece(outs, P, 0..len.div_ceil(piece_len), piece_len, shared(work), &f);
    }
}

/// Calls `f` for each of `pieces` of the first `n` planes: shared out if `parallel`, else one after the other.
fn each_piece<const P: usize, T: Send>(
    mut planes: [&mut [T]; P],
    n: usize,
    pieces: Range<usize>,
    piece_len: usize,
    parallel: bool,
    f: &(impl Fn(usize, &mut [&mut [T]]) + Sync),
) {
    if parallel {
        return halve(planes, n, pieces, piece_len, f);
    }
    for i in pieces {
        let mut piece = [const { None }; P];
        for (piece, plane) in piece.iter_mut().zip(&mut planes[..n]) {
            *piece = plane.split_off_mut(..piece_len.min(plane.len()));
        }
        f(i, &mut piece.map(Option::unwrap_or_default)[..n]);
    }
}

/// Halves `pieces` of the first `n` planes, one half for another worker, until one is left for `f`.
fn halve<const P: usize, T: Send>(
    mut planes: [&mut [T]; P],
    n: usize,
    pieces: Range<usize>,
    piece_len: usize,
    f: &(impl Fn(usize, &mut [&mut [T]]) + Sync),
) {
    if pieces.len() <= 1 {
        return f(pieces.start, &mut planes[..n]);
    }
    let middle = pieces.len() / 2;
    let mut right = [const { None }; P];
    let mut right_of = right.iter_mut();
    let left = planes.map(|plane| {
        let (left, right) = plane.split_at_mut((middle * piece_len).min(plane.len()));
        if let Some(slot) = right_of.next() {
            *slot = Some(right);
        }
        left
    });
    let right = right.map(Option::unwrap_or_default);
    let middle = pieces.start + middle;
    let a = || halve(left, n, pieces.start..middle, piece_len, f);
    both(true, a, || halve(right, n, middle..pieces.end, piece_len, f));
}

/// Runs both, on two workers of the pool that the caller runs on; one after the other outside of a pool or [`alone`].
pub fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    both(sharing(), a, b)
}

/// Runs `a` here, then `b`; if `parallel`, `b` on another worker if one is free. After `a` this worker then looks for work,
/// `b` first, while `b` is not done: one that fell asleep would be woken too late.
fn both<A: Send, B: Send>(parallel: bool, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    if !parallel {
        return (a(), b());
    }
    let over = AtomicBool::new(false);
    rayon::join(
        || {
            let a = a();
            work_until(&over);
            a
        },
        || {
            let b = b();
            over.store(true, Ordering::Release);
            b
        },
    )
}

/// Time without work after which a worker in [`work_until`] may sleep, longer than most gaps between the parallel parts of a
/// step.
const AWAKE: Duration = Duration::from_micros(500);

/// Runs `f` while the other workers of the pool look for its work without falling asleep between two of its parallel parts:
/// waking one takes 25 to 40 microseconds. A worker that finds nothing for half a millisecond sleeps all the same; until
/// then it leaves its core to whoever wants it.
pub fn awake<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let Some(caller) = rayon::current_thread_index().filter(|_| sharing()) else {
        return f();
    };
    let over = AtomicBool::new(false);
    rayon::in_place_scope(|scope| {
        for _ in 1..workers() {
            scope.spawn(|_| watch(caller, &over));
        }
        let result = f();
        over.store(true, Ordering::Release);
        result
    })
}

/// [`work_until`] the caller is done. The caller itself, and a worker that waits already, do not stay: they came here while
/// they wait for others, and would not see that these are done.
fn watch(caller: usize, over: &AtomicBool) {
    if rayon::current_thread_index() != Some(caller) && !WAITS.get() {
        work_until(over);
    }
}

/// Takes on work until it is `over`, or until there was none for [`AWAKE`].
fn work_until(over: &AtomicBool) {
    let before = WAITS.replace(true);
    let mut idle: Option<Instant> = None;
    while !over.load(Ordering::Acquire) {
        if let Some(rayon::Yield::Executed) = rayon::yield_now() {
            idle = None;
        } else if idle.get_or_insert_with(Instant::now).elapsed() < AWAKE {
            // To whoever else wants this core.
            std::thread::yield_now();
        } else {
            break;
        }
    }
    WAITS.set(before);
}

/// A pool of `threads` workers (0 = one per core).
///
/// # Errors
/// `Other` if the operating system refuses the threads.
pub fn pool(threads: usize) -> crate::error::Result<Pool> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map(Pool).map_err(|e| {
        crate::error::Error::other(format!("cannot start {threads} threads: {e}"), "use fewer with --threads")
    })
}

/// Worker threads; kernels called inside [`Pool::run`] use them.
pub struct Pool(rayon::ThreadPool);

impl Pool {
    /// Runs `f` on the pool.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.0.install(f)
    }

    /// Number of workers.
    pub fn threads(&self) -> usize {
        self.0.current_num_threads()
    }
}

/// As [`for_pieces`], and returns the sum of what `f` gives, added in an order fixed by the number of pieces.
pub fn sum_rows(out: &mut [f32], piece_len: usize, work: usize, f: &(impl Fn(usize, &mut [f32]) -> f64 + Sync)) -> f64 {
    fn halve(
        out: &mut [f32],
        pieces: Range<usize>,
        piece_len: usize,
        parallel: bool,
        f: &(impl Fn(usize, &mut [f32]) -> f64 + Sync),
    ) -> f64 {
        if pieces.len() <= 1 {
            return f(pieces.start, out);
        }
        let middle = pieces.start + pieces.len() / 2;
        let (left, right) = out.split_at_mut((middle - pieces.start) * piece_len);
        let a = || halve(left, pieces.start..middle, piece_len, parallel, f);
        let b = || halve(right, middle..pieces.end, piece_len, parallel, f);
        let (a, b) = both(parallel, a, b);
        a + b
    }
    let piece_len = piece_len.max(1);
    halve(out, 0..out.len().div_ceil(piece_len), piece_len, shared(work), f)
}

/// Pieces of [`sum_pieces`] at most; their sums wait on the stack.
const MOST_PIECES: usize = 256;

/// Cuts `0..len` into pieces of 16384, longer where there would be more than 256 of them, and returns
/// `Σ f(range, outs)` over the pieces in their order. `outs` are the parts `range` of the outputs, each `len` long.
///
/// # Panics
/// If an output is not `len` long.
pub fn sum_pieces<const K: usize>(
    len: usize,
    outs: [&mut [f32]; K],
    work: usize,
    f: impl Fn(Range<usize>, [&mut [f32]; K]) -> f64 + Sync,
) -> f64 {
    assert!(outs.iter().all(|out| out.len() == len), "every output must be {len} long");
    let piece_len = len.div_ceil(MOST_PIECES).next_multiple_of(16).max(16_384);
    let mut sums = [0.0; MOST_PIECES];
    let sums = &mut sums[..len.div_ceil(piece_len)];
    let parallel = shared(work);
    halve_sum(0..len, piece_len, outs, sums, parallel, &f);
    sums.iter().sum()
}

/// Halves the pieces, one for each of `sums`, until one is left for `f`.
fn halve_sum<const K: usize>(
    whole: Range<usize>,
    piece_len: usize,
    mut outs: [&mut [f32]; K],
    sums: &mut [f64],
    parallel: bool,
    f: &(impl Fn(Range<usize>, [&mut [f32]; K]) -> f64 + Sync),
) {
    if let [sum] = sums {
        *sum = f(whole, outs);
    } else if !sums.is_empty() {
        let (left_sums, right_sums) = sums.split_at_mut(sums.len() / 2);
        let len = left_sums.len() * piece_len;
        let middle = whole.start + len;
        let left = outs.each_mut().map(|out| out.split_off_mut(..len).unwrap_or_default());
        let a = || halve_sum(whole.start..middle, piece_len, left, left_sums, parallel, f);
        let b = || halve_sum(middle..whole.end, piece_len, outs, right_sums, parallel, f);
        both(parallel, a, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;

    /// One inside the other, and more threads than cores.
    #[test]
    fn awake_workers_take_part_and_let_go() {
        for threads in [1, 2, 3, 5] {
            let pool = pool(threads).unwrap();
            for _ in 0..200 {
                let sum = pool.run(|| {
                    awake(|| {
                        let mut out = vec![0; 500];
                        for_pieces(&mut out, 7, usize::MAX, |i, piece| {
                            let inner: usize = awake(|| map_slices(&mut [i; 3], |k, i| k * *i)).into_iter().sum();
                            piece.fill(inner);
                        });
                        out.into_iter().sum::<usize>()
                    })
                });
                assert_eq!(sum, (0..500).map(|k| 3 * (k / 7)).sum::<usize>());
            }
        }
        assert_eq!(awake(|| 7), 7, "outside of a pool");
    }

    #[test]
    fn slices_keep_their_order_and_each_comes_once() {
        for threads in [1, 2, 3, 8] {
            let pool = pool(threads).unwrap();
            for n in 0..20 {
                let mut slices: Vec<usize> = (0..n).collect();
                let numbers = pool.run(|| {
                    map_slices(&mut slices, |i, slice| {
                        *slice += 1;
                        (i, *slice)
                    })
                });
                assert!(numbers.into_iter().eq((0..n).map(|i| (i, i + 1))), "{n} slices, {threads} threads");
                assert!(slices.into_iter().eq(1..n + 1));
            }
        }
    }

    #[test]
    fn a_panic_lets_the_workers_go() {
        let pool = pool(3).unwrap();
        // Each half on a worker of its own when one of them panics.
        for first in [true, false] {
            let met = Barrier::new(2);
            let half = |panics: bool| {
                met.wait();
                assert!(!panics, "on purpose");
            };
            let panicked = catch_unwind(AssertUnwindSafe(|| pool.run(|| join(|| half(first), || half(!first)))));
            assert!(panicked.is_err());
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| pool.run(|| awake(|| panic!("on purpose")))));
        assert!(panicked.is_err());
        assert_eq!(pool.run(|| awake(|| map_slices(&mut [1, 2, 3], |_, x| 2 * *x))), [2, 4, 6]);
    }
}
