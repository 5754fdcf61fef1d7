//! Splitting an output over threads, in pieces fixed by its shape and never by the number of threads.

use rayon::prelude::*;

/// Work below this many multiply-adds stays on the calling thread: waking a worker costs 10 to 20 microseconds.
const PARALLEL_FROM: usize = 200_000;

/// Calls `f(i, piece)` for each `piece_len` long piece of `out` (the last may be shorter), on several threads where
/// `work` (multiply-adds in total) is worth it. Each piece is written by one call.
pub fn for_pieces<T: Send>(out: &mut [T], piece_len: usize, work: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    let piece_len = piece_len.max(1);
    if work < PARALLEL_FROM || rayon::current_num_threads() == 1 {
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
    if work < PARALLEL_FROM || rayon::current_num_threads() == 1 {
        a.chunks_mut(len_a).zip(b.chunks_mut(len_b)).enumerate().for_each(|(i, (x, y))| f(i, x, y));
    } else {
        a.par_chunks_mut(len_a).zip(b.par_chunks_mut(len_b)).enumerate().for_each(|(i, (x, y))| f(i, x, y));
    }
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
