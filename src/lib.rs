//! A pure-CPU, SIMD, sparse neural engine that trains image classifiers wired like a measured piece of cortex.
//!
//! | level | module | what |
//! |---|---|---|
//! | 5 | [`cli`] | one file per subcommand: flags, messages, exit codes |
//! | 4 | [`train`], [`eval`] | the training loop; scores |
//! | 3 | [`model`], [`learning`] | layers, column, presets; optimizers, schedules, Hebbian rules, homeostasis |
//! | 2 | [`connectome`], [`data`], [`store`] | wiring; images; weights on disk |
//! | 1 | [`kernels`] | plain functions on slices |
//! | 0 | [`config`], [`rng`], [`error`] | configuration, random streams, errors |
//!
//! A file uses its own module and lower levels only; `tests/architecture.rs` keeps that true.

pub mod cli;
pub mod config;
pub mod connectome;
pub mod data;
pub mod error;
pub mod eval;
pub mod kernels;
pub mod learning;
pub mod model;
pub mod rng;
pub mod store;
pub mod train;
