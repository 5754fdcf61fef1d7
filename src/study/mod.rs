//! Studies: many runs, what each gave, and what the differences between models are worth.
//!
//! A study is a folder:
//!
//! ```text
//! <model>-s<seed>/   an ordinary run, and in it result.json once it is trained and scored
//! results.csv        one row per finished run
//! study.json         title, reference, models, factors, seeds, published figures; fingerprints of images and wiring on the disk
//! study.lock         held while study.json is read and replaced; empty
//! table.csv          one row per model: means, intervals, differences to the reference, tests
//! main_effects.csv   one row per level of a factor, where models combine factors
//! ```
//!
//! What is missing is found by looking, so a study goes on after any end, with more seeds or models than before, and from
//! many machines that share the folder. A row of `results.csv` counts where its run folder is gone.

mod cell;
mod design;
mod folder;
mod plan;
mod results;
mod runner;
mod sources;
mod table;

pub use cell::finish;
pub use design::{Axis, Design};
pub use folder::{About, Folder, Progress, RESULTS, TABLE, read_about};
pub use plan::{BuiltIn, Cell, Model, PLAN_FORM, PLANS, Plan};
pub use results::{CellResult, ClassRecall, RunNumbers, SplitScores, read_results, write_results};
pub use runner::{Event, Outcome, run};
pub use sources::only_moved;
pub use table::{Difference, Differences, MainEffect, Measures, Row, Table, detectable_note, thousands};
