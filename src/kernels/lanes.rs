//! Sixteen lanes at a time: loads and stores between slices and vectors.
//!
//! A kernel cuts a run of numbers into vectors of [`LANES`]; the last one may be shorter. The loads differ in what they
//! put into the lanes behind the end: zeros ([`load`], [`load_padded`], and [`load_at`] at the end of the slice) or
//! whatever follows ([`load_first`], [`load_at`]), which costs least where each lane stays by itself.

use wide::f32x16;

/// Lanes of a vector.
pub const LANES: usize = 16;

/// As many lanes as one register has, at least eight: the vector of a kernel that needs many of them at a time.
#[cfg(target_feature = "avx512f")]
pub type Register = f32x16;
/// As many lanes as one register has, at least eight: the vector of a kernel that needs many of them at a time.
#[cfg(not(target_feature = "avx512f"))]
pub type Register = wide::f32x8;

/// Lanes of a [`Register`].
pub const REGISTER: usize = size_of::<Register>() / size_of::<f32>();

/// Registers of a vector.
pub const PARTS: usize = LANES / REGISTER;

/// Whether a vector is one of 32 registers (AVX-512). Elsewhere it is two of 16 (AVX2) or four of 32 (NEON): the sums
/// of six vectors stay in registers beside what they are made of, and those of four hide the latency of a multiply-add.
pub const ONE_REGISTER: bool = PARTS == 1;

/// Register `part` of a vector in memory.
#[inline(always)]
pub fn register(lanes: &[f32; LANES], part: usize) -> Register {
    Register::new(lanes.as_chunks().0[part])
}

/// Writes register `part` of a vector in memory.
#[inline(always)]
pub fn put_register(lanes: &mut [f32; LANES], part: usize, v: Register) {
    lanes.as_chunks_mut().0[part] = v.to_array();
}

/// The first 16 numbers of `x`, zeros behind its end.
#[inline(always)]
pub fn load(x: &[f32]) -> f32x16 {
    load_or(0.0, x)
}

/// The first 16 numbers of `x`, `fill` behind its end.
#[inline(always)]
pub fn load_or(fill: f32, x: &[f32]) -> f32x16 {
    match x.first_chunk() {
        Some(run) => f32x16::new(*run),
        None => {
            let mut part = [fill; LANES];
            part[..x.len()].copy_from_slice(x);
            f32x16::new(part)
        }
    }
}

/// Writes the lanes of `v` for which `out` has room.
#[inline(always)]
pub fn store(out: &mut [f32], v: f32x16) {
    match out.first_chunk_mut() {
        Some(run) => *run = v.to_array(),
        None => out.copy_from_slice(&v.to_array()[..out.len()]),
    }
}

/// The 16 numbers of `x` from `at`.
#[inline(always)]
pub fn load_whole(x: &[f32], at: usize) -> f32x16 {
    match x[at..].first_chunk() {
        Some(run) => f32x16::new(*run),
        None => panic!("16 lanes from {at} leave a slice of {}", x.len()),
    }
}

/// Writes `v` to the 16 numbers of `out` from `at`.
#[inline(always)]
pub fn store_whole(out: &mut [f32], at: usize, v: f32x16) {
    out[at..at + LANES].copy_from_slice(v.as_array());
}

/// The vector at `x[at..]`, zeros past the end of `x`. Those come from a call, around which the compiler would keep
/// many sums in memory.
#[inline(always)]
pub fn load_at(x: &[f32], at: usize) -> f32x16 {
    if at + LANES <= x.len() { load_whole(x, at) } else { f32x16::new(end(x, at)) }
}

/// What `x` has from `at` on, then zeros.
#[cold]
fn end<const N: usize>(x: &[f32], at: usize) -> [f32; N] {
    let mut lanes = [0.0; N];
    let rest = &x[at.min(x.len())..];
    lanes[..rest.len()].copy_from_slice(rest);
    lanes
}

/// The register at `x[at..]`, which lies in `x` if `WHOLE`; else zeros past its end, as [`load_at`].
#[inline(always)]
pub fn register_at<const WHOLE: bool>(x: &[f32], at: usize) -> Register {
    match x.get(at..).and_then(|x| x.first_chunk()) {
        Some(run) => Register::new(*run),
        None if WHOLE => panic!("a register from {at} leaves a slice of {}", x.len()),
        None => Register::new(end(x, at)),
    }
}

/// `n` <= 16 numbers of `x` from `at`; the other lanes hold whatever follows them, or 0 at the end of `x`.
///
/// Reading on into the next row costs nothing, a copy of `n` numbers costs a call: use it where each lane stays by
/// itself and the others are thrown away.
#[inline(always)]
pub fn load_first(x: &[f32], at: usize, n: usize) -> f32x16 {
    match x[at..].first_chunk() {
        Some(run) => f32x16::new(*run),
        None => load_padded(x, at, n),
    }
}

/// `n` <= 16 numbers of `x` from `at`, then zeros.
#[inline]
pub fn load_padded(x: &[f32], at: usize, n: usize) -> f32x16 {
    if n == LANES {
        return load_whole(x, at);
    }
    let mut lanes = [0.0; LANES];
    lanes[..n].copy_from_slice(&x[at..at + n]);
    f32x16::new(lanes)
}

/// Writes the first `n` <= 16 lanes of `v` to `out` from `at`.
#[inline]
pub fn store_first(out: &mut [f32], at: usize, n: usize, v: f32x16) {
    if n == LANES {
        return store_whole(out, at, v);
    }
    out[at..at + n].copy_from_slice(&v.as_array()[..n]);
}

/// The tiles of up to 16 lanes that cover `0..len`: where each begins and how many lanes it has.
#[inline]
pub fn tiles(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(LANES).map(move |at| (at, LANES.min(len - at)))
}

/// Sum of `x` in one chain of vectors: 16 partial sums, then those. For short runs; the four chains of
/// [`super::reduce::sum`] give other last bits.
#[inline]
pub fn chain_sum(x: &[f32]) -> f32 {
    tiles(x.len()).fold(f32x16::ZERO, |sum, (at, n)| sum + load_padded(x, at, n)).reduce_add()
}

/// All bits set if `all`, else none.
#[inline]
pub fn all_or_none(all: bool) -> Register {
    Register::splat(f32::from_bits(if all { u32::MAX } else { 0 }))
}

/// All bits set in the first `n` lanes: `v & mask(n)` keeps these and zeroes the others, NaN or not.
#[inline]
pub fn mask(n: usize) -> f32x16 {
    const ALL: f32 = f32::from_bits(u32::MAX);
    const EDGE: [f32; 2 * LANES] = {
        let mut edge = [0.0; 2 * LANES];
        let mut lane = 0;
        while lane < LANES {
            edge[lane] = ALL;
            lane += 1;
        }
        edge
    };
    load_whole(&EDGE, LANES - n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_loads_agree_on_their_first_lanes() {
        let x: Vec<f32> = (0..40).map(|i| i as f32).collect();
        for at in [0, 3, 24, 30, 37] {
            for n in 0..LANES.min(x.len() - at) {
                let first = load_first(&x, at, n).to_array();
                assert_eq!(first[..n], x[at..at + n]);
                let padded = load_padded(&x, at, n).to_array();
                assert_eq!(padded[..n], x[at..at + n]);
                assert!(padded[n..].iter().all(|&v| v == 0.0));
            }
        }
    }

    #[test]
    fn the_registers_of_a_vector_are_its_lanes_in_order() {
        let from: [f32; LANES] = std::array::from_fn(|lane| lane as f32);
        let mut to = [f32::NAN; LANES];
        (0..PARTS).for_each(|part| put_register(&mut to, part, register(&from, part)));
        assert_eq!(to, from);
    }

    #[test]
    fn masked_lanes_are_zero_even_from_nan() {
        let kept = (f32x16::splat(f32::NAN) & mask(5)).to_array();
        assert!(kept[..5].iter().all(|v| v.is_nan()) && kept[5..].iter().all(|&v| v == 0.0));
    }
}
