//! One run in memory: the loop over epochs and steps.

use super::files::{self, BEST, METRICS, STATE, WORK};
use super::material::Material;
use super::progress::{EpochRecord, Event, Progress, Stop, Summary};
use super::step::Step;
use crate::config::Config;
use crate::data::{Split, Standardize};
use crate::error::{Error, Result};
use crate::model::inference::{loss_and_accuracy, probabilities};
use crate::rng::Rng;
use crate::store::{self, Fingerprints, WorkMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A run that is being trained.
pub(super) struct Session {
    material: Material,
    out: PathBuf,
    fingerprints: Fingerprints,
    map: WorkMap,
    progress: Progress,
    standardize: Standardize,
    training: Vec<usize>,
    public: Vec<usize>,
    step: Step,
}

impl Session {
    /// A new run: checks everything, then makes the folder.
    pub fn start(config: &Config, out: &Path, observer: &mut (dyn FnMut(Event) + Send)) -> Result<Self> {
        files::refuse_existing(out)?;
        let config = &files::with_absolute_source(config);
        let material = Material::gather(config, None, observer)?;
        let fingerprints = material.fingerprints()?;
        let run = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "seed": config.seed,
            "data": material.dataset.source,
            "connectome": material.connectome.as_ref().map(|c| c.origin.clone()),
            "parameters": material.network.parameters(),
            "synapses": material.network.synapses(),
            "architecture": std::env::consts::ARCH,
            "fingerprints": {
                "data": format!("{:016x}", fingerprints.data),
                "connectome": format!("{:016x}", fingerprints.connectome),
                "configuration": format!("{:016x}", fingerprints.configuration),
            },
        });
        let made = files::create(out, config, material.connectome.as_ref(), &run)
            .and_then(|()| WorkMap::create(&out.join(WORK), material.regions.len()));
        let mut map = made.inspect_err(|_| files::remove(out))?;
        material.initialise(map.floats_mut());
        Self::new(material, out, fingerprints, map, None)
    }

    /// A saved run: reads and checks its state, then maps a fresh working copy.
    pub fn resume(config: &Config, out: &Path, force: bool, observer: &mut (dyn FnMut(Event) + Send)) -> Result<Self> {
        let path = out.join(STATE);
        if !path.exists() {
            return Err(Error::state(path.display(), "no state was saved yet", "start the run anew in another folder"));
        }
        let saved = store::load(&path)?;
        let wiring = files::load_connectome(out, config)?;
        let material = Material::gather(config, wiring, observer)?;
        let fingerprints = material.fingerprints()?;
        if !force {
            files::check_fingerprints(&path, &saved.fingerprints, &fingerprints)?;
        }
        let mut progress = files::read_progress(&path, &saved.progress)?;
        if saved.fingerprints != fingerprints {
            // What was best under other conditions is not to be compared with what comes.
            (progress.best_epoch, progress.best_accuracy, progress.best_loss) = (progress.epoch, -1.0, f64::MAX);
            observer(Event::Note("the best epoch is sought anew from here".to_string()));
        }
        files::truncate_metrics(&out.join(METRICS), progress.log_len)?;
        let mut map = WorkMap::create(&out.join(WORK), material.regions.len())?;
        material.regions.restore(&path, &saved, &material.network, true, map.floats_mut())?;
        observer(Event::Note(format!("resumed after epoch {}, step {}", progress.epoch, progress.cursor)));
        Self::new(material, out, fingerprints, map, Some(progress))
    }

    fn new(
        mut material: Material,
        out: &Path,
        fingerprints: Fingerprints,
        map: WorkMap,
        progress: Option<Progress>,
    ) -> Result<Self> {
        let training = material.dataset.indices(Split::Training);
        let public = material.dataset.indices(Split::Public);
        let steps = training.len().div_ceil(material.config.batch);
        let fresh = material.fresh_progress(steps);
        let progress = match progress {
            Some(p) => Progress { schedule: fresh.schedule.continuing(&p.schedule), ..p },
            None => fresh,
        };
        material.hebbian.restore_shares(progress.shares.clone());
        let standardize = Standardize::of(&material.config.data.standardize, (progress.mean, progress.sd));
        let out = out.to_path_buf();
        Ok(Self { material, out, fingerprints, map, progress, standardize, training, public, step: Step::default() })
    }

    /// Trains to the end of the schedule, to early stopping or to a request to stop.
    pub fn run(mut self, observer: &mut (dyn FnMut(Event) + Send), stop: &Stop) -> Result<Summary> {
        let epochs = self.material.config.epochs;
        while self.progress.epoch < epochs && !self.stale() {
            self.epoch(observer, stop)?;
            let record = self.close_epoch()?;
            let best = self.progress.best_epoch == self.progress.epoch;
            observer(Event::Epoch { record: &record, epochs, best });
        }
        let p = &self.progress;
        Ok(Summary {
            out: self.out.display().to_string(),
            epochs: p.epoch,
            best_epoch: p.best_epoch,
            val_accuracy: p.best_accuracy,
            parameters: self.material.network.parameters(),
            synapses: self.material.network.synapses(),
            seconds: p.seconds,
            images_per_second: p.images as f64 / p.training_seconds.max(1e-9),
            seed: self.material.config.seed,
        })
    }

    /// True when PublicTest has not improved for the configured number of epochs.
    fn stale(&self) -> bool {
        let patience = self.material.config.learning.early_stopping;
        patience > 0 && self.progress.epoch > 0 && self.progress.epoch - self.progress.best_epoch >= patience
    }

    /// Trains what is left of the current epoch.
    fn epoch(&mut self, observer: &mut (dyn FnMut(Event) + Send), stop: &Stop) -> Result<()> {
        let (seed, batch) = (self.material.config.seed, self.material.config.batch);
        let mut order = self.training.clone();
        Rng::stream(seed, "shuffle", &[self.progress.epoch as u64]).shuffle(&mut order);
        let steps = order.len().div_ceil(batch);
        let (start, first_seen) = (Instant::now(), self.progress.seen);
        for part in order.chunks(batch).skip(self.progress.cursor) {
            if let Some(code) = stop.requested() {
                self.progress.epoch_seconds += start.elapsed().as_secs_f64();
                self.save_state()?;
                return Err(Error::stopped(
                    code,
                    format!(
                        "stopped in epoch {} with the state saved in {}",
                        self.progress.epoch + 1,
                        self.out.display()
                    ),
                    format!("continue with `bionic-cpu train --resume --out {}`", self.out.display()),
                ));
            }
            let schedule = self.progress.schedule.factor(self.progress.step);
            let (loss, correct) = self.step.run(
                &mut self.material,
                self.map.floats_mut(),
                part,
                self.progress.epoch as u64,
                self.progress.step,
                schedule,
                self.standardize,
            );
            if !loss.is_finite() {
                return Err(Error::other(
                    format!("training diverged: the loss is {loss} in epoch {}", self.progress.epoch + 1),
                    "lower learning.learning_rate; the last finished epoch is saved",
                ));
            }
            let p = &mut self.progress;
            p.loss += loss;
            p.correct += correct;
            p.seen += part.len();
            p.step += 1;
            p.cursor += 1;
            let images_per_second = (p.seen - first_seen) as f64 / start.elapsed().as_secs_f64();
            let (epoch, step) = (p.epoch + 1, p.cursor);
            observer(Event::Step { epoch, epochs: self.material.config.epochs, step, steps, images_per_second });
        }
        self.progress.epoch_seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Scores PublicTest, writes the record and saves what has been reached.
    fn close_epoch(&mut self) -> Result<EpochRecord> {
        let scoring = Instant::now();
        let (loss, accuracy) = self.score_public();
        let shares = self.material.hebbian.take_shares();
        let rate = f64::from(self.material.config.learning.learning_rate);
        let p = &mut self.progress;
        let last_step = p.step.saturating_sub(1);
        p.epoch += 1;
        p.cursor = 0;
        let images = std::mem::take(&mut p.seen);
        let trained = std::mem::take(&mut p.epoch_seconds);
        let seconds = trained + scoring.elapsed().as_secs_f64();
        let record = EpochRecord {
            epoch: p.epoch,
            train_loss: std::mem::take(&mut p.loss) / images.max(1) as f64,
            train_accuracy: std::mem::take(&mut p.correct) as f64 / images.max(1) as f64,
            val_loss: loss,
            val_accuracy: accuracy,
            learning_rate: rate * p.schedule.factor(last_step),
            images_per_second: images as f64 / trained.max(1e-9),
            seconds,
            hebbian_share: shares.into_iter().map(|s| (s.name, s.sum / s.steps.max(1) as f64)).collect(),
        };
        p.schedule.epoch_ended(loss);
        p.seconds += seconds;
        p.training_seconds += trained;
        p.images += images as u64;
        let best = accuracy > p.best_accuracy || (accuracy == p.best_accuracy && loss < p.best_loss);
        if best {
            (p.best_epoch, p.best_accuracy, p.best_loss) = (p.epoch, accuracy, loss);
        }
        p.log_len = files::append_record(&self.out.join(METRICS), &record)?;
        if best {
            self.save(BEST, false)?;
        }
        self.save_state()?;
        Ok(record)
    }

    fn score_public(&mut self) -> (f64, f64) {
        let parts = self.material.regions.split(self.map.floats_mut());
        let labels: Vec<u8> = self.public.iter().map(|&i| self.material.dataset.labels[i]).collect();
        let p = probabilities(
            &mut self.material.network,
            parts.weights,
            parts.buffers,
            &self.material.dataset,
            &self.public,
            self.standardize,
            false,
        );
        loss_and_accuracy(&p, &labels)
    }

    fn save_state(&mut self) -> Result<()> {
        self.progress.shares = self.material.hebbian.shares().to_vec();
        self.save(STATE, true)
    }

    fn save(&self, name: &str, whole: bool) -> Result<()> {
        let m = &self.material;
        let path = self.out.join(name);
        files::save(&path, &m.regions, &m.network, whole, &self.fingerprints, &self.progress, self.map.floats())
    }
}
