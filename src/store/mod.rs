//! Weights on disk.
