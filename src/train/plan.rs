//! What a training would be: layers, sizes and the expected time, from a few steps in memory; nothing is written.

use super::Stepper;
use crate::config::Config;
use crate::data::{PIXELS, Split};
use crate::error::Result;
use serde::Serialize;
use std::time::Instant;

/// One layer of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedLayer {
    /// Name, as in the configuration.
    pub name: String,
    /// Output for one image: `CxHxW`, or the number of neurons.
    pub output: String,
    /// Trained parameters.
    pub parameters: usize,
    /// Synapses of the connectome that carry a weight.
    pub synapses: usize,
}

/// The plan of a training.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Layers, first to last.
    pub layers: Vec<PlannedLayer>,
    /// Every trained tensor: name and shape.
    pub tensors: Vec<(String, Vec<usize>)>,
    /// Trained parameters in all.
    pub parameters: usize,
    /// Synapses of the connectome that carry a weight.
    pub synapses: usize,
    /// Size of the working map: weights, moments and running state.
    pub state_bytes: usize,
    /// Size of the images in memory.
    pub image_bytes: usize,
    /// Training images.
    pub training_images: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Expected wall time of an epoch, from timed steps, seconds.
    pub seconds_per_epoch: f64,
    /// Epochs of the schedule.
    pub epochs: usize,
}

/// Works out the plan for `config`.
///
/// # Errors
/// Those of loading the data and the connectome and of building the network.
pub fn plan(config: &Config) -> Result<Plan> {
    let mut stepper = Stepper::new(config)?;
    stepper.material().network.check_rates(config)?;
    let seconds_per_step = seconds_per_step(&mut stepper);
    let material = stepper.material();
    let training_images = material.dataset.indices(Split::Training).len();
    let steps_per_epoch = training_images.div_ceil(config.batch);
    let network = &material.network;
    let layers = network.layers().iter().map(|l| PlannedLayer {
        name: l.name().to_owned(),
        output: l.output().to_string(),
        parameters: l.tensors().iter().map(|t| t.len()).sum(),
        synapses: l.synapses(),
    });
    Ok(Plan {
        layers: layers.collect(),
        tensors: network.tensors().iter().map(|t| (t.spec.name.clone(), t.spec.shape.clone())).collect(),
        parameters: network.parameters(),
        synapses: network.synapses(),
        state_bytes: material.regions.len() * size_of::<f32>(),
        image_bytes: material.dataset.len() * PIXELS,
        training_images,
        steps_per_epoch,
        seconds_per_epoch: seconds_per_step * steps_per_epoch as f64,
        epochs: config.epochs,
    })
}

/// Median of a few real steps on weights in memory, after a warm-up.
fn seconds_per_step(stepper: &mut Stepper) -> f64 {
    const WARM_UP: usize = 3;
    const TIMED: usize = 9;
    let timed = |stepper: &mut Stepper| {
        let start = Instant::now();
        stepper.step();
        start.elapsed().as_secs_f64()
    };
    let steps = 0..WARM_UP + TIMED;
    let mut seconds: Vec<f64> = stepper.on_pool(|stepper| steps.map(|_| timed(stepper)).skip(WARM_UP).collect());
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

impl Plan {
    /// The plan as aligned text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{:<22} {:>12} {:>12} {:>10}\n", "layer", "output", "parameters", "synapses");
        for l in &self.layers {
            text += &format!("{:<22} {:>12} {:>12} {:>10}\n", l.name, l.output, l.parameters, l.synapses);
        }
        text += &format!("{:<22} {:>12} {:>12} {:>10}\n\n", "total", "", self.parameters, self.synapses);
        text += &format!("{:<34} shape\n", "tensor");
        for (name, shape) in &self.tensors {
            text += &format!("{name:<34} {shape:?}\n");
        }
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        text += &format!(
            "\nweights, moments and state: {:.1} MiB; images: {:.1} MiB\n",
            mib(self.state_bytes),
            mib(self.image_bytes)
        );
        text += &format!(
            "{} training images, {} steps an epoch, about {:.1} s an epoch, {:.1} min for {} epochs\n",
            self.training_images,
            self.steps_per_epoch,
            self.seconds_per_epoch,
            self.seconds_per_epoch * self.epochs as f64 / 60.0,
            self.epochs
        );
        text
    }
}
