//! Studies: many runs, what each gave, and what the differences between models are worth.
//!
//! A study is a folder: each run in a folder of its own, `results.csv` with one row per finished run, and `table.csv`
//! with one row per model.

pub mod results;
pub mod statistics;
pub mod table;

pub use results::{CellResult, RunNumbers, SplitScores, read_results, write_results};
pub use table::Table;
