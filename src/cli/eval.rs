//! `eval`: scores of a run on one split.

use super::output;
use crate::error::Result;
use crate::eval::{EvalSplit, evaluate};
use std::path::PathBuf;

/// Flags of `eval`.
#[derive(clap::Args)]
pub struct Args {
    /// Run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Images: demo (drawn faces), a Kaggle CSV (also .gz) or a folder train|test/<class>/*.png|jpg
    /// [default: what RUN was trained on]
    #[arg(long, value_name = "SRC")]
    data: Option<String>,
    /// Which of them to score; test = public + private (7,178 images of FER-2013)
    #[arg(long, value_enum, default_value_t = Split::Test)]
    split: Split,
    /// Average over each image and its mirror image
    #[arg(long)]
    tta: bool,
    /// Worker threads; 0 = one per core; the scores do not depend on it
    #[arg(long, value_name = "T", default_value_t = 0)]
    threads: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Value of `--split`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Split {
    Train,
    Public,
    Private,
    Test,
}

impl From<Split> for EvalSplit {
    fn from(split: Split) -> Self {
        match split {
            Split::Train => Self::Train,
            Split::Public => Self::Public,
            Split::Private => Self::Private,
            Split::Test => Self::Test,
        }
    }
}

/// Prints the scores.
///
/// # Errors
/// Those of [`evaluate`]; `Io` if stdout refuses the scores.
pub fn run(args: &Args) -> Result<()> {
    let (data, threads) = (args.data.as_deref(), usize::from(args.threads));
    let evaluation = evaluate(&args.run, data, args.split.into(), args.tta, threads, &mut output::warning)?;
    if args.json { output::json(&evaluation) } else { output::result(&evaluation.to_text()) }
}
