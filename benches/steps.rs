//! Whole training steps or classifications of one preset for a while, as one line of JSON: one side of `tools/speed.py`.
//!
//! `cargo bench --bench steps -- PRESET BATCH THREADS SECONDS train|infer [f32|bf16]`; every preset for half a second
//! without them.
//! `train`: drawn faces with augmentation, forward, backward, optimizer, Hebbian rule. `infer`: from bytes to classes.

use bionic_cpu::config::{Config, Precision};
use bionic_cpu::connectome;
use bionic_cpu::data::{self, Split, Standardize};
use bionic_cpu::kernels::threads::{pool, processor_seconds};
use bionic_cpu::model::inference::Classifier;
use bionic_cpu::model::{Network, presets};
use bionic_cpu::train::Stepper;
use std::time::{Duration, Instant};

/// Batches that are worked on in turn.
const BATCHES: usize = 16;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let number = |i: usize| args[i].parse::<f64>().expect("BATCH, THREADS and SECONDS are numbers");
    match args.len() {
        0 => {
            for preset in presets::PRESETS {
                for mode in ["train", "infer"] {
                    measure(preset.name, 32, 1, 0.5, mode, "f32");
                }
            }
        }
        5 | 6 => {
            let precision = args.get(5).map_or("f32", String::as_str);
            measure(&args[0], number(1) as usize, number(2) as usize, number(3), &args[4], precision);
        }
        _ => panic!("expected PRESET BATCH THREADS SECONDS train|infer [f32|bf16]"),
    }
}

fn measure(preset: &str, batch: usize, threads: usize, seconds: f64, mode: &str, precision: &str) {
    let mut config = presets::preset(preset).expect("a preset");
    config.threads = threads;
    config.batch = batch;
    config.precision = *Precision::ALL.iter().find(|p| p.name() == precision).expect("f32 or bf16");
    config.validate().expect("numbers in range");
    config.data.demo_train = BATCHES * batch;
    config.data.demo_test = 1;
    let (mut times, processors) = match mode {
        "train" => {
            let mut stepper = Stepper::new(&config).expect("every preset trains on drawn faces");
            stepper.on_pool(|stepper| {
                repeat(seconds, || {
                    stepper.step();
                })
            })
        }
        "infer" => classify(&config, seconds),
        _ => panic!("expected train or infer, found {mode}"),
    };
    times.sort_by(f64::total_cmp);
    let rate = |time: f64| batch as f64 / time;
    println!(
        "{{\"preset\":\"{preset}\",\"batch\":{batch},\"threads\":{threads},\"mode\":\"{mode}\",\"steps\":{},\
         \"median\":{:.1},\"best\":{:.1},\"mean\":{:.1},\"processors\":{processors:.3}}}",
        times.len(),
        rate(times[times.len() / 2]),
        rate(times[0]),
        rate(times.iter().sum::<f64>() / times.len() as f64),
    );
}

/// Seconds of each classification of a batch; and how many processors were in use.
fn classify(config: &Config, seconds: f64) -> (Vec<f64>, f64) {
    let wiring = config.column.enabled.then(|| connectome::load(&config.connectome).expect("the embedded column"));
    let mut network = Network::build(config, wiring.as_ref()).expect("every preset builds");
    let (mut weights, mut buffers) = (vec![0.0; network.weights_len()], vec![0.0; network.buffers_len()]);
    network.initialise(config.seed, &mut weights, &mut buffers);
    let faces = data::draw(&config.data);
    let standardize = Standardize::of(config.data.standardize, faces.mean_sd(Split::Training));
    let indices = faces.indices(Split::Training);
    let mut parts = indices.chunks_exact(config.batch).cycle();
    let mut classifier = Classifier::new(&mut network, &weights, &buffers);
    pool(config.threads).expect("threads").run(|| {
        repeat(seconds, || {
            let part = parts.next().expect("a batch");
            let p = classifier.probabilities(&faces, part, standardize, false);
            std::hint::black_box(p);
        })
    })
}

/// Seconds of each call of `f`, after a few to warm up, for at least this long; and how many processors were in use.
fn repeat(seconds: f64, mut f: impl FnMut()) -> (Vec<f64>, f64) {
    (0..5).for_each(|_| f());
    let mut times = Vec::new();
    let (begin, used) = (Instant::now(), processor_seconds());
    while times.len() < 3 || begin.elapsed() < Duration::from_secs_f64(seconds) {
        let start = Instant::now();
        f();
        times.push(start.elapsed().as_secs_f64());
    }
    (times, (processor_seconds() - used) / begin.elapsed().as_secs_f64())
}
