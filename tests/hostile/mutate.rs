//! Deterministic damage to a good file.

use bionic_cpu::rng::Rng;

/// Pieces of text that mean something to a parser.
const TOKENS: [&[u8]; 24] = [
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e400",
    b"99999999999999999999",
    b"4294967296",
    b"\"",
    b"'",
    b",",
    b"\n",
    b"\r",
    b"\0",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b".",
    b"#",
    b"\xff\xd8",
    b"\xff\xc2",
    b"PK\x03\x04",
    b"\x1f\x8b\x08\x00",
];
/// Numbers on which sizes turn over.
const NUMBERS: [u64; 10] =
    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff];

/// The `i`-th mutation of `good`: one to three changes.
pub fn mutate(good: &[u8], i: u64) -> Vec<u8> {
    let mut rng = Rng::stream(1, "mutations", &[i]);
    let mut bytes = good.to_vec();
    for _ in 0..=rng.below(3) {
        change(&mut bytes, &mut rng);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        bytes.push(rng.below(256) as u8);
    }
    // Headers are at the beginning: half of the changes are there.
    let reach = if rng.chance(0.5) { bytes.len().min(256) } else { bytes.len() };
    let at = rng.below(reach);
    let end = (at + 1 + rng.below(64)).min(bytes.len());
    match rng.below(8) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << rng.below(8),
        2 => bytes[at] = rng.below(256) as u8,
        3 => {
            let (number, length) = (NUMBERS[rng.below(NUMBERS.len())], 1 << rng.below(4));
            let digits =
                if rng.chance(0.5) { number.to_le_bytes() } else { (number << (64 - 8 * length)).to_be_bytes() };
            let end = (at + length).min(bytes.len());
            bytes[at..end].copy_from_slice(&digits[..end - at]);
        }
        4 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => drop(bytes.drain(at..end)),
        6 => drop(bytes.splice(at..end, TOKENS[rng.below(TOKENS.len())].iter().copied())),
        _ => drop(bytes.splice(at..at, TOKENS[rng.below(TOKENS.len())].iter().copied())),
    }
}
