//! Activity cut into tiles of lanes, each tile packed neuron after neuron.
//!
//! A row of `(N, B)` is `4 B` bytes from the next, so the lanes of one tile would share a few sets of the cache; and a
//! vector that begins anywhere crosses a cache line, which halves what the second cache delivers. Packed, a tile of four
//! vectors of 4096 neurons is 1 MiB in one piece, each vector in a line of its own.

use crate::kernels::lanes::{LANES, ONE_REGISTER, load};
use crate::kernels::threads::for_pieces;
use std::cell::RefCell;
use std::ops::Range;
use std::thread::LocalKey;
use wide::f32x16;

/// Reads of each neuron below which packing costs more than it gives. Eight vectors of a neuron, read together where they
/// lie, use every set of the cache.
const FEW: usize = 12;
/// Vectors of a tile at most: two chains of sums of each stay in registers.
const MOST: usize = if ONE_REGISTER { 8 } else { 2 };
/// Neurons up to which a packed tile has four vectors instead of two, if registers allow: it stays in the second cache.
const WIDE: usize = 5120;
/// Neurons packed per piece of work.
const NEURONS: usize = 512;

thread_local! {
    /// Tiles, kept for the next call on this thread.
    static VECTORS: RefCell<Vec<f32x16>> = const { RefCell::new(Vec::new()) };
    /// Weights, kept likewise.
    static WEIGHTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// Places in rows, kept likewise.
    static PLACES: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` of whatever `spare` holds. A call within `f`, of another piece of work that this thread took
/// on, makes a buffer of its own.
fn with_spare<V: Copy, R>(
    spare: &'static LocalKey<RefCell<Vec<V>>>,
    len: usize,
    zero: V,
    f: impl FnOnce(&mut [V]) -> R,
) -> R {
    let mut buffer = spare.take();
    if buffer.len() < len {
        buffer.resize(len, zero);
    }
    let result = f(&mut buffer[..len]);
    spare.set(buffer);
    result
}

/// Calls `f` with room for `len` vectors.
fn with_vectors<R>(len: usize, f: impl FnOnce(&mut [f32x16]) -> R) -> R {
    with_spare(&VECTORS, len, f32x16::ZERO, f)
}

/// Calls `f` with room for `len` weights.
pub(super) fn with_weights<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    with_spare(&WEIGHTS, len, 0.0, f)
}

/// Calls `f` with room for `len` places in rows.
pub(super) fn with_places<R>(len: usize, f: impl FnOnce(&mut [u32]) -> R) -> R {
    with_spare(&PLACES, len, 0, f)
}

/// One tile of activity: `T` vectors of each neuron.
pub(super) trait Tile<const T: usize>: Copy {
    /// The vectors of `neuron`.
    fn of(self, neuron: u32) -> [f32x16; T];
}

impl<const T: usize> Tile<T> for &[[f32x16; T]] {
    #[inline(always)]
    fn of(self, neuron: u32) -> [f32x16; T] {
        self[neuron as usize]
    }
}

impl<const T: usize> Tile<T> for &[[[f32; LANES]; T]] {
    #[inline(always)]
    fn of(self, neuron: u32) -> [f32x16; T] {
        let lanes = &self[neuron as usize];
        let mut vectors = [f32x16::ZERO; T];
        for t in 0..T {
            vectors[t] = f32x16::new(lanes[t]);
        }
        vectors
    }
}

/// A tile as it lies in activity of whole vectors.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    /// The activity from the first vector of the tile.
    vectors: &'a [[f32; LANES]],
    /// Vectors from one neuron to the next.
    stride: usize,
}

impl<'a> Strided<'a> {
    /// The tile from lane `b` of `x (N, B)`, where `B` is a multiple of 16.
    pub(super) fn new(batch: usize, b: usize, x: &'a [f32]) -> Self {
        Self { vectors: x.as_chunks().0.get(b / LANES..).unwrap_or_default(), stride: batch / LANES }
    }
}

impl<const T: usize> Tile<T> for Strided<'_> {
    #[inline(always)]
    fn of(self, neuron: u32) -> [f32x16; T] {
        let at = neuron as usize * self.stride;
        let lanes = &self.vectors[at..at + T];
        let mut vectors = [f32x16::ZERO; T];
        for t in 0..T {
            vectors[t] = f32x16::new(lanes[t]);
        }
        vectors
    }
}

/// What is done with each tile.
pub(super) trait TileWork {
    /// The tile of `T` vectors from lane `b`, of which `n` belong to the batch; `x (N)`.
    fn tile<const T: usize>(&mut self, b: usize, n: usize, x: impl Tile<T>);
}

/// Activity `(N, B)`, or one packed tile of it, as tiles of four or two vectors, and one at the end; up to eight where
/// it is read in place; none of more than [`MOST`].
pub(super) struct Panels<'a> {
    n: usize,
    batch: usize,
    /// The activity `(N, B)`.
    x: &'a [f32],
    /// Tile after tile, filled up with zeros; none where the activity is read in place.
    packed: Option<&'a [f32x16]>,
    /// Lanes of the tiles.
    lanes: Range<usize>,
}

impl Panels<'_> {
    /// Calls `f` with the tiles of `x (N, B)`, packed where that pays: if `reads` vectors are read of each row of a tile.
    pub(super) fn with<R>(batch: usize, x: &[f32], reads: usize, f: impl FnOnce(Panels) -> R) -> R {
        let panels = Panels::in_place(batch, x);
        if panels.pays_in_place(reads) {
            return f(panels);
        }
        with_vectors(panels.n * batch.div_ceil(LANES), |packed| {
            for (b, width) in panels.tiles() {
                pack(&panels, b, width, &mut packed[b / LANES * panels.n..]);
            }
            f(Panels { packed: Some(packed), ..panels })
        })
    }

    /// As [`Panels::with`], but packed tiles one by one, all in the same place, so that a batch takes no more cache
    /// than a tile.
    pub(super) fn one_by_one(batch: usize, x: &[f32], reads: usize, mut f: impl FnMut(Panels)) {
        let panels = Panels::in_place(batch, x);
        if panels.pays_in_place(reads) {
            return f(panels);
        }
        for (b, width) in panels.tiles() {
            with_vectors(panels.n * width, |packed| {
                pack(&panels, b, width, packed);
                f(Panels { packed: Some(packed), lanes: b..batch.min(b + width * LANES), ..panels });
            });
        }
    }

    fn in_place(batch: usize, x: &[f32]) -> Panels<'_> {
        Panels { n: x.len() / batch.max(1), batch, x, packed: None, lanes: 0..batch }
    }

    fn pays_in_place(&self, reads: usize) -> bool {
        let aligned = self.batch <= 2 * LANES && (self.x.as_ptr() as usize).is_multiple_of(64);
        self.batch.is_multiple_of(LANES) && (aligned || reads < FEW * self.n)
    }

    /// Number of lanes.
    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// True if there is one tile.
    pub(super) fn single(&self) -> bool {
        self.lanes.len() <= width(self.n, self.lanes.len()) * LANES
    }

    /// True if these are the last tiles of the batch.
    pub(super) fn last(&self) -> bool {
        self.lanes.end == self.batch
    }

    /// First lane and vectors of each packed tile.
    fn tiles(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Panels { n, lanes: Range { start: mut next, end }, .. } = *self;
        std::iter::from_fn(move || {
            let b = next;
            (b < end).then(|| {
                let width = width(n, end - b);
                next += width * LANES;
                (b, width)
            })
        })
    }

    /// Hands each tile to `work`, in order.
    #[inline(always)]
    pub(super) fn each(&self, work: &mut impl TileWork) {
        let Some(packed) = self.packed else {
            return self.each_in_place(work);
        };
        for (b, width) in self.tiles() {
            let at = (b - self.lanes.start) / LANES * self.n;
            let (tile, n) = (&packed[at..], (self.batch - b).min(width * LANES));
            match width {
                4 => work.tile::<4>(b, n, tile.as_chunks().0),
                2 => work.tile::<2>(b, n, tile.as_chunks().0),
                _ => work.tile::<1>(b, n, tile.as_chunks().0),
            }
        }
    }

    #[inline(always)]
    fn each_in_place(&self, work: &mut impl TileWork) {
        let vectors = self.x.as_chunks().0;
        match self.batch {
            16 => return work.tile::<1>(0, 16, vectors.as_chunks::<1>().0),
            32 => return work.tile::<2>(0, 32, vectors.as_chunks::<2>().0),
            _ => {}
        }
        let mut b = 0;
        while b < self.batch {
            let tile = Strided::new(self.batch, b, self.x);
            b += match ((self.batch - b) / LANES).min(MOST) {
                8.. => self.strip::<8>(b, tile, work),
                4.. => self.strip::<4>(b, tile, work),
                2.. => self.strip::<2>(b, tile, work),
                _ => self.strip::<1>(b, tile, work),
            };
        }
    }

    /// `T` vectors of each neuron, where they lie together in place; returns their lanes.
    #[inline(always)]
    fn strip<const T: usize>(&self, b: usize, tile: Strided, work: &mut impl TileWork) -> usize {
        work.tile::<T>(b, T * LANES, tile);
        T * LANES
    }
}

/// Vectors of the tile of `n` neurons that begins where `rest` lanes are left.
fn width(n: usize, rest: usize) -> usize {
    match rest {
        ..=LANES => 1,
        rest if rest >= 4 * LANES && n <= WIDE && MOST >= 4 => 4,
        _ => 2,
    }
}

/// Fills the tile of `width` vectors from lane `b`.
fn pack(panels: &Panels, b: usize, width: usize, tile: &mut [f32x16]) {
    let Panels { n, batch, x, .. } = *panels;
    match width {
        4 => pack_tile::<4>(n, batch, b, x, tile),
        2 => pack_tile::<2>(n, batch, b, x, tile),
        _ => pack_tile::<1>(n, batch, b, x, tile),
    }
}

/// Fills the tile of `x (N, B)` from lane `b`.
fn pack_tile<const T: usize>(n: usize, batch: usize, b: usize, x: &[f32], tile: &mut [f32x16]) {
    let tile = &mut tile.as_chunks_mut::<T>().0[..n];
    for_pieces(tile, NEURONS, n * T * LANES, |piece, tile| {
        for (vectors, row) in tile.iter_mut().zip(x[piece * NEURONS * batch..].chunks(batch)) {
            for t in 0..T {
                vectors[t] = load(&row[b + t * LANES..]);
            }
        }
    });
}
