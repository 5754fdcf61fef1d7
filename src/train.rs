//! Training loop.
