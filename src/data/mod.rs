//! Images with labels and splits: one file per source, and augmentation.

/// Side of an image, pixels.
pub const SIDE: usize = 48;
/// Pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// The seven expressions in FER-2013's order; labels are indices into it.
pub const EXPRESSIONS: [&str; 7] = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];

/// Which part of a data set an image belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Trained on.
    Training,
    /// Everything is chosen on it.
    Public,
    /// Scored once.
    Private,
}

/// A data set in memory: pixels as bytes, image by image.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Where it came from, for messages and the run folder.
    pub source: String,
    /// Pixels `(n, 48, 48)`, row by row, 0 black to 255 white.
    pub pixels: Vec<u8>,
    /// Label of each image `(n)`, an index into [`EXPRESSIONS`]; empty where the source has none (Kaggle's `test.csv`).
    pub labels: Vec<u8>,
    /// Split of each image `(n)`.
    pub splits: Vec<Split>,
}

impl Dataset {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.splits.len()
    }

    /// True if there is no image.
    pub fn is_empty(&self) -> bool {
        self.splits.is_empty()
    }

    /// Pixels of image `i`, `(48, 48)`.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * PIXELS..(i + 1) * PIXELS]
    }
}
