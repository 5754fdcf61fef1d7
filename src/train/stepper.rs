//! Single training steps on weights in memory, nothing written: what the plan times and what benches measure.

use super::material::Material;
use super::pace::Pace;
use super::step::Step;
use crate::config::Config;
use crate::data::{Split, Standardize};
use crate::error::Result;
use crate::kernels::threads::{self, Pool};
use std::sync::Arc;

/// A run without a folder that is trained step by step, at the peak learning rate throughout.
pub struct Stepper {
    pool: Arc<Pool>,
    material: Material,
    /// Weights, moments, buffers and the state of local learning.
    floats: Vec<f32>,
    /// Training images, in their order in the data set.
    training: Vec<usize>,
    standardize: Standardize,
    step: Step,
    pub(super) pace: Pace,
    done: usize,
}

impl Stepper {
    /// Loads data and wiring, builds the network and draws its first weights; steps run on `config.threads` threads, or on one
    /// while other processes have the cores.
    ///
    /// # Errors
    /// Those of loading the data and the connectome and of building the network.
    pub fn new(config: &Config) -> Result<Self> {
        let pool = Arc::new(threads::pool(config.threads)?);
        Arc::clone(&pool).run(|| {
            let material = Material::gather(config, None, &mut |_| {})?;
            let mut floats = vec![0.0; material.regions.len()];
            material.initialise(&mut floats);
            let standardize = Standardize::of(config.data.standardize, material.mean_sd());
            let training = material.dataset.indices(Split::Training);
            // A step is to be timed without drawing its faces, which happens once a run.
            material.dataset.pixels.complete(&training);
            Ok(Self {
                pool,
                material,
                floats,
                training,
                standardize,
                step: Step::default(),
                pace: Pace::default(),
                done: 0,
            })
        })
    }

    /// One whole step (images, forward, backward, optimizer, Hebbian rule) on the next batch, round and round the
    /// training images; the last batch of a round may be smaller. Returns the mean loss of its images.
    pub fn step(&mut self) -> f64 {
        let Self { pool, material, floats, training, standardize, step, pace, done } = self;
        let batch = material.config.batch;
        let (epoch, at) = (*done / training.len().div_ceil(batch), *done % training.len().div_ceil(batch));
        let part = &training[at * batch..training.len().min((at + 1) * batch)];
        let mut run = || step.run(material, floats, part, epoch as u64, *done as u64, 1.0, *standardize);
        let (loss, _) = pool.run(|| pace.step(part.len(), &mut run));
        *done += 1;
        loss / part.len() as f64
    }

    /// Runs `f` on the pool, where its steps follow each other on the same threads, as in a run.
    pub fn on_pool<R: Send>(&mut self, f: impl FnOnce(&mut Self) -> R + Send) -> R {
        let pool = Arc::clone(&self.pool);
        pool.run(|| f(self))
    }

    /// What is trained, and on what.
    pub(super) fn material(&self) -> &Material {
        &self.material
    }
}
