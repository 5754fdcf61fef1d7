//! A pure-CPU, SIMD, sparse neural engine that trains image classifiers wired like a measured piece of cortex.
//!
//! | level | module | what |
//! |---|---|---|
//! | 5 | [`cli`] | one file per subcommand: flags, messages, exit codes |
//! | 4 | [`train`], [`eval`], [`export`], [`lesion`], [`study`], [`report`] | the training loop and the run folder; scores; trained networks for other programs; silenced neurons; many runs and their statistics; pages with plots |
//! | 3 | [`model`], [`learning`] | layers, column, presets; optimizers, schedules, Hebbian rules, homeostasis, Dale's law |
//! | 2 | [`connectome`], [`data`], [`table`], [`store`] | wiring; images; CSV tables; weights on disk |
//! | 1 | [`kernels`], [`statistics`] | plain functions on slices; statistics of repeated runs |
//! | 0 | [`aligned`], [`config`], [`rng`], [`input`], [`error`] | buffers on cache lines, configuration, random streams, opening files from outside, errors |
//!
//! A file uses its own module and lower levels; of two modules on one level only one may use the other (`connectome`
//! uses `table` and `store`, `table` uses `store`, `learning` uses `model`, `eval`, `export`, `lesion`, `study` and
//! `report` use `train`, the last three `eval`, and `report` `lesion` and `study`). `tests/architecture.rs` keeps that
//! true.
//!
//! Where to add what: a layer, a file in `model` and its row in [`model::LAYERS`]; a learning rule, a function and its
//! row in [`learning::RULES`]; an image format, a row in [`data::LOADERS`]; a connectome format that is a pair of tables, a
//! row in [`connectome::IMPORTERS`]; a null wiring, a row in [`connectome::NULL_WIRINGS`]; a preset, a row in
//! [`model::presets::PRESETS`]; a plan of a study, a file and its row in [`study::PLANS`]; an export format, a file in
//! [`export`] and its row in [`export::EXPORTERS`]; a kernel, a file in [`kernels`] with its reference loop and a parity
//! test; a reader of files from outside begins in [`input`] and has a row in `tests/hostile` and a target in `tools/fuzz`.

pub mod aligned;
pub mod cli;
pub mod config;
pub mod connectome;
pub mod data;
pub mod error;
pub mod eval;
pub mod export;
pub mod input;
pub mod kernels;
pub mod learning;
pub mod lesion;
pub mod model;
pub mod report;
pub mod rng;
pub mod statistics;
pub mod store;
pub mod study;
pub mod table;
pub mod train;
