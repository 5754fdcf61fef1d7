//! Formats of connectomes.

use super::Format;

/// One row per format.
pub const FORMATS: &[Format] = &[];
