//! Statistics of repeated runs: plain functions on slices, checked against SciPy by `tools/study_statistics.py`, and how p
//! is written.
//!
//! Every function is defined for every sample of finite numbers (whose squares are finite): what a sample is too small
//! or too uniform for is `None`, and no result is NaN or infinite.

mod describe;
mod effect;
mod holm;
mod level;
mod paired;
mod permutation;
mod power;
mod student;
mod t_test;
mod wilcoxon;

pub use describe::{Description, describe, mean, standard_deviation};
pub use effect::hedges_g;
pub use holm::holm;
pub use level::{LEVEL, MIN_PAIRS, probability};
pub use paired::{Comparison, compare};
pub use permutation::{EXACT_FLIPS_UP_TO, RANDOM_FLIPS, permutation_p};
pub use power::{POWER, detectable};
pub use student::{normal_two_sided, t_quantile, t_two_sided};
pub use t_test::{TTest, t_test};
pub use wilcoxon::{EXACT_RANKS_UP_TO, Wilcoxon, wilcoxon};
