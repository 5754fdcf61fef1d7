//! The pixels of a data set: bytes in memory, or faces that are drawn when somebody looks at them.

use super::PIXELS;
use super::demo::Faces;
use xxhash_rust::xxh3::Xxh3;

/// Pixels `(n, 48, 48)` of a data set, row by row, 0 black to 255 white.
#[derive(Clone, Debug)]
pub struct Pixels(Source);

#[derive(Clone, Debug)]
enum Source {
    Held(Vec<u8>),
    Drawn(Faces),
}

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Source::Held(bytes))
    }
}

impl From<Faces> for Pixels {
    fn from(faces: Faces) -> Self {
        Self(Source::Drawn(faces))
    }
}

impl Pixels {
    /// Those of image `i`, `(48, 48)`.
    ///
    /// # Panics
    /// If there is no image `i`.
    pub fn image(&self, i: usize) -> &[u8] {
        match &self.0 {
            Source::Held(bytes) => &bytes[i * PIXELS..][..PIXELS],
            Source::Drawn(faces) => faces.face(i),
        }
    }

    /// True where images are drawn when they are looked at.
    pub fn are_drawn(&self) -> bool {
        matches!(self.0, Source::Drawn(_))
    }

    /// Before `images` are looked at: draws those that are not there, on all threads.
    pub fn complete(&self, images: &[usize]) {
        if let Source::Drawn(faces) = &self.0 {
            faces.complete(images);
        }
    }

    /// All bytes, in memory from here on; what is pushed to them or taken away is an image more or less.
    pub fn hold(&mut self) -> &mut Vec<u8> {
        if let Source::Drawn(faces) = &self.0 {
            let all: Vec<usize> = (0..faces.len()).collect();
            faces.complete(&all);
            *self = Self::from(all.into_iter().flat_map(|i| faces.face(i)).copied().collect::<Vec<u8>>());
        }
        match &mut self.0 {
            Source::Held(bytes) => bytes,
            Source::Drawn(_) => unreachable!("held above"),
        }
    }

    /// Adds to `hash` what tells these pixels from others: the bytes, or the seed of faces and the first ones.
    pub(super) fn hash(&self, hash: &mut Xxh3) {
        match &self.0 {
            Source::Held(bytes) => hash.update(bytes),
            Source::Drawn(faces) => faces.hash(hash),
        }
    }
}
