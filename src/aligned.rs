//! Buffers of floats whose first one begins a cache line.
//!
//! The allocator aligns to 16 bytes, so that most 64-byte loads of a plain `Vec<f32>` touch two lines and cost twice.

use std::ops::{Deref, DerefMut};

/// Floats of a cache line.
const LINE: usize = 16;

/// A growable slice of floats that starts on a multiple of 64 bytes.
#[derive(Default)]
pub struct Aligned {
    floats: Vec<f32>,
    /// Where the aligned part begins in `floats`, below [`LINE`].
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros; what is never written takes no memory where the system gives zeroed pages.
    pub fn zeros(len: usize) -> Self {
        let floats = vec![0.0; len + LINE - 1];
        let start = floats.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE - 1);
        Self { floats, start, len }
    }

    /// As [`Vec::resize`]: `len` floats, the new ones `value`.
    pub fn resize(&mut self, len: usize, value: f32) {
        if self.start + len > self.floats.len() {
            let mut larger = Self::zeros(len);
            larger[..self.len].copy_from_slice(self);
            larger.len = self.len;
            *self = larger;
        }
        let before = self.len;
        self.len = len;
        if let Some(new) = self.get_mut(before..) {
            new.fill(value);
        }
    }

    /// The first `len` floats of a buffer that grows and never shrinks: what was written stays, nothing is zeroed again.
    pub fn prefix(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            self.resize(len, 0.0);
        }
        &mut self[..len]
    }

    /// As [`Vec::clear`].
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// All floats.
    pub fn as_slice(&self) -> &[f32] {
        self
    }

    /// All floats, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        self
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Self {
        let mut copy = Self::zeros(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_vec_that_starts_on_a_line() {
        let (mut aligned, mut plain) = (Aligned::default(), Vec::new());
        for (i, len) in [0, 1, 17, 5, 6, 40, 3, 1000, 999, 1000].into_iter().enumerate() {
            aligned.resize(len, i as f32);
            plain.resize(len, i as f32);
            assert_eq!(aligned.as_slice(), plain);
            assert_eq!(aligned.clone().as_slice(), plain);
            for buffer in [&aligned, &aligned.clone()] {
                assert!(buffer.is_empty() || buffer.as_ptr().addr() % 64 == 0);
            }
        }
        aligned.clear();
        aligned.resize(4, 7.0);
        assert_eq!(aligned.as_slice(), [7.0; 4]);
        assert_eq!(aligned.prefix(2), [7.0; 2]);
        assert_eq!(aligned.len(), 4);
        assert_eq!(aligned.prefix(5), [7.0, 7.0, 7.0, 7.0, 0.0]);
    }
}
