//! One run in memory: the loop over epochs and steps.

use super::files::{self, METRICS, STATE, WORK};
use super::material::Material;
use super::origin::{self, Origin};
use super::pace::Pace;
use super::progress::{EpochRecord, Event, Saved, Stop, Summary};
use super::step::Step;
use crate::config::Config;
use crate::data::{Split, Standardize};
use crate::error::{Error, Result};
use crate::kernels::threads;
use crate::model::inference::{loss_and_accuracy, probabilities};
use crate::rng::Rng;
use crate::store::{self, Fingerprints, Snapshot, State, WorkFile, WorkMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Images scored between two looks at a request to stop; whole batches.
const SCORED_AT_ONCE: usize = 512;

/// An epoch ends with a commit unless the last one was less than so many times its cost ago: saving then takes at most one
/// part in so many of the time, however short the epochs and however slow the disk.
const COMMIT_SHARE: f64 = 100.0;

/// A run that is being trained.
pub(super) struct Session {
    material: Material,
    out: PathBuf,
    fingerprints: Fingerprints,
    map: WorkMap,
    state: State,
    saved: Saved,
    commits: Commits,
    standardize: Standardize,
    training: Vec<usize>,
    public: Vec<usize>,
    step: Step,
    pace: Pace,
}

/// When the state was saved, and what that cost.
struct Commits {
    last: Instant,
    /// Of the last one, seconds.
    cost: f64,
    /// Of all in this process, seconds.
    total: f64,
    /// True if there is something that is not saved.
    dirty: bool,
}

impl Session {
    /// A new run: checks everything, then makes the folder, with a first state in it.
    pub fn start(config: &Config, out: &Path, observer: &mut (dyn FnMut(Event) + Send)) -> Result<Self> {
        files::refuse_occupied(out)?;
        let config = files::with_absolute_sources(config.clone());
        let material = Material::gather(&config, None, observer)?;
        material.network.check_rates(&config)?;
        let made = store::make_folder(out)?;
        let work = WorkFile::lock(&out.join(WORK)).inspect_err(|_| {
            if made {
                // Succeeds only if nobody else has put anything there.
                let _ = fs::remove_dir(out);
            }
        })?;
        // Another process may have been faster.
        files::refuse_occupied(out)?;
        Self::begin(material, out, work).inspect_err(|_| files::take_back(out, made))
    }

    /// The run in `out`, which trained with the configuration `was`: reads and checks its state, then maps a fresh working
    /// copy. Writes nothing before everything is checked.
    pub fn resume(
        config: Config,
        was: &Config,
        out: &Path,
        force: bool,
        observer: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Self> {
        let config = files::with_absolute_sources(config);
        let work = WorkFile::lock(&out.join(WORK))?;
        let path = out.join(STATE);
        if !files::has_state(out)? {
            observer(Event::Note(format!("{}: no state was saved yet: starting from the beginning", out.display())));
            return Self::begin(Material::gather(&config, None, observer)?, out, work);
        }
        let (mut state, opened) = State::open(&path)?;
        for warning in &opened.warnings {
            observer(Event::Warning(format!("{}: {warning}", path.display())));
        }
        let Saved { mut progress, origin: found } = Saved::from_text(&path, &opened.text)?;
        let own_wiring = config.connectome == was.connectome;
        let wiring = if own_wiring { files::load_connectome(out, &config)? } else { None };
        let material = Material::gather(&config, wiring, observer)?;
        let fingerprints = origin::fingerprints(&material)?;
        let origin = Origin::of(&material, &fingerprints)?;
        if !force {
            origin.refuse_other(&path, &found, &opened.fingerprints, &fingerprints)?;
        }
        material.regions.check(&path, &opened, &material.network)?;
        files::check_metrics(&out.join(METRICS), progress.log_len)?;
        let mut map = work.map(material.regions.len())?;
        material.regions.restore(&opened, &material.network, map.floats_mut());
        // First, so that a new configuration never stands beside an old wiring.
        if let (Some(c), false) = (&material.connectome, own_wiring) {
            files::write_connectome(out, c)?;
        }
        files::truncate_metrics(&out.join(METRICS), progress.log_len)?;
        if config != *was {
            files::describe(out, &material, &fingerprints)?;
        }
        observer(Event::Note(format!("resumed after epoch {}, step {}", progress.epoch, progress.cursor)));
        let changed = opened.fingerprints != fingerprints;
        if changed && progress.epoch < config.epochs {
            // What was best under other conditions is not to be compared with what comes. Without epochs to come it stays.
            (progress.best_epoch, progress.best_accuracy, progress.best_loss) = (progress.epoch, -1.0, f64::MAX);
            observer(Event::Note("the best epoch is sought anew from here".to_string()));
        }
        let steps = material.dataset.indices(Split::Training).len().div_ceil(config.batch);
        progress.schedule = material.schedule(steps).continuing(&progress.schedule);
        if changed {
            (progress.mean, progress.sd) = material.mean_sd();
        }
        let saved = Saved { progress, origin };
        if changed {
            commit(&mut state, &material, &fingerprints, &saved, map.floats())?;
        }
        Ok(Self::new(material, out, fingerprints, map, state, saved))
    }

    /// Fills the folder of a run that nobody has begun.
    fn begin(material: Material, out: &Path, work: WorkFile) -> Result<Self> {
        let fingerprints = origin::fingerprints(&material)?;
        // Side by side: half of what is left of a start is to draw the first weights.
        let (described, map) = threads::join(
            || files::begin(out, &material, &fingerprints),
            || {
                let mut map = work.map(material.regions.len())?;
                material.initialise(map.floats_mut());
                Ok(map)
            },
        );
        let map = described.and(map)?;
        let steps = material.dataset.indices(Split::Training).len().div_ceil(material.config.batch);
        let saved = Saved { progress: material.fresh_progress(steps), origin: Origin::of(&material, &fingerprints)? };
        let sections: Vec<_> = material.regions.sections(&material.network).into_iter().map(|(s, _)| s).collect();
        let state = with_snapshot(&material, &fingerprints, &saved, map.floats(), |snapshot| {
            State::create(&out.join(STATE), &sections, snapshot)
        })?;
        Ok(Self::new(material, out, fingerprints, map, state, saved))
    }

    fn new(
        mut material: Material,
        out: &Path,
        fingerprints: Fingerprints,
        map: WorkMap,
        state: State,
        saved: Saved,
    ) -> Self {
        let training = material.dataset.indices(Split::Training);
        let public = material.dataset.indices(Split::Public);
        material.hebbian.restore_shares(saved.progress.shares.clone());
        let standardize = Standardize::of(material.config.data.standardize, (saved.progress.mean, saved.progress.sd));
        let (out, step, pace) = (out.to_path_buf(), Step::default(), Pace::default());
        let commits = Commits { last: Instant::now(), cost: 0.0, total: 0.0, dirty: false };
        Self { material, out, fingerprints, map, state, saved, commits, standardize, training, public, step, pace }
    }

    /// Trains to the end of the schedule, to early stopping or to a request to stop.
    pub fn run(mut self, observer: &mut (dyn FnMut(Event) + Send), stop: &Stop) -> Result<Summary> {
        let epochs = self.material.config.epochs;
        while self.saved.progress.epoch < epochs && !self.stale() {
            self.epoch(observer, stop)?;
            let record = self.close_epoch(stop)?;
            let best = self.saved.progress.best_epoch == self.saved.progress.epoch;
            observer(Event::Epoch { record: &record, epochs, best });
        }
        if self.commits.dirty {
            self.commit()?;
        }
        let p = &self.saved.progress;
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
            saving_seconds: self.commits.total,
            fingerprint: format!("{:016x}", store::fingerprint(self.map.floats())),
            data_fingerprint: format!("{:016x}", self.fingerprints.data),
            connectome_fingerprint: format!("{:016x}", self.fingerprints.connectome),
            configuration_fingerprint: format!("{:016x}", self.fingerprints.configuration),
        })
    }

    /// True when PublicTest has not improved for the configured number of epochs.
    fn stale(&self) -> bool {
        let patience = self.material.config.learning.early_stopping;
        let p = &self.saved.progress;
        patience > 0 && p.epoch > 0 && p.epoch - p.best_epoch >= patience
    }

    /// Trains what is left of the current epoch.
    fn epoch(&mut self, observer: &mut (dyn FnMut(Event) + Send), stop: &Stop) -> Result<()> {
        let Config { seed, batch, epochs, commit_seconds, .. } = self.material.config;
        let mut order = self.training.clone();
        Rng::stream(seed, "shuffle", &[self.saved.progress.epoch as u64]).shuffle(&mut order);
        let steps = order.len().div_ceil(batch);
        let (start, first_seen) = (Instant::now(), self.saved.progress.seen);
        let before = self.saved.progress.epoch_seconds;
        for part in order.chunks(batch).skip(self.saved.progress.cursor) {
            self.saved.progress.epoch_seconds = before + start.elapsed().as_secs_f64();
            if let Some(code) = stop.requested() {
                return Err(self.stopped(code));
            }
            if self.commits.last.elapsed().as_secs_f32() >= commit_seconds {
                self.commit()?;
            }
            self.commits.dirty = true;
            let p = &mut self.saved.progress;
            let schedule = p.schedule.factor(p.step);
            let (material, floats) = (&mut self.material, self.map.floats_mut());
            let (loss, correct) = self.pace.step(part.len(), || {
                self.step.run(material, floats, part, p.epoch as u64, p.step, schedule, self.standardize)
            });
            if !loss.is_finite() {
                return Err(Error::other(
                    format!("training diverged: the loss is {loss} in epoch {}", p.epoch + 1),
                    "start another run with a lower learning.learning_rate; the saved state of this one is whole",
                ));
            }
            p.loss += loss;
            p.correct += correct;
            p.seen += part.len();
            p.step += 1;
            p.cursor += 1;
            let images_per_second = (p.seen - first_seen) as f64 / start.elapsed().as_secs_f64();
            observer(Event::Step { epoch: p.epoch + 1, epochs, step: p.cursor, steps, images_per_second });
        }
        self.saved.progress.epoch_seconds = before + start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Saves the state; returns what ends the run.
    fn stopped(&mut self, code: u8) -> Error {
        if let Err(e) = self.commit() {
            return e;
        }
        let (epoch, out) = (self.saved.progress.epoch + 1, self.out.display());
        Error::stopped(
            code,
            format!("stopped in epoch {epoch} with the state saved in {out}"),
            format!("continue with `bionic-cpu train --resume --out {out}`"),
        )
    }

    /// Scores PublicTest, writes the record and saves what has been reached, unless that was just done.
    fn close_epoch(&mut self, stop: &Stop) -> Result<EpochRecord> {
        let scoring = Instant::now();
        let (loss, accuracy) = self.score_public(stop)?;
        let shares = self.material.hebbian.take_shares();
        let rate = f64::from(self.material.config.learning.learning_rate);
        let p = &mut self.saved.progress;
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
        if accuracy > p.best_accuracy || (accuracy == p.best_accuracy && loss < p.best_loss) {
            (p.best_epoch, p.best_accuracy, p.best_loss) = (p.epoch, accuracy, loss);
            self.material.regions.keep_best(self.map.floats_mut());
        }
        p.log_len = files::append_record(&self.out.join(METRICS), &record)?;
        self.commits.dirty = true;
        let pause = (COMMIT_SHARE * self.commits.cost).min(f64::from(self.material.config.commit_seconds));
        if self.commits.last.elapsed().as_secs_f64() >= pause {
            self.commit()?;
        }
        Ok(record)
    }

    /// Mean loss and accuracy on PublicTest; a request to stop ends it, and scoring begins anew after a resume.
    fn score_public(&mut self, stop: &Stop) -> Result<(f64, f64)> {
        let mut all = Vec::with_capacity(self.public.len());
        for part in self.public.chunks(SCORED_AT_ONCE) {
            if let Some(code) = stop.requested() {
                return Err(self.stopped(code));
            }
            let Material { network, dataset, regions, .. } = &mut self.material;
            let parts = regions.split(self.map.floats_mut());
            let scored = probabilities(network, parts.weights, parts.buffers, dataset, part, self.standardize, false);
            all.extend(scored);
        }
        let labels: Vec<u8> = self.public.iter().map(|&i| self.material.dataset.labels[i]).collect();
        Ok(loss_and_accuracy(&all, &labels))
    }

    /// Makes what has been reached durable, the log before the state that counts on it.
    fn commit(&mut self) -> Result<()> {
        let start = Instant::now();
        files::sync_metrics(&self.out.join(METRICS))?;
        self.saved.progress.shares = self.material.hebbian.shares().to_vec();
        commit(&mut self.state, &self.material, &self.fingerprints, &self.saved, self.map.floats())?;
        let cost = start.elapsed().as_secs_f64();
        self.commits = Commits { last: Instant::now(), cost, total: self.commits.total + cost, dirty: false };
        Ok(())
    }
}

fn commit(
    state: &mut State,
    material: &Material,
    fingerprints: &Fingerprints,
    saved: &Saved,
    floats: &[f32],
) -> Result<()> {
    with_snapshot(material, fingerprints, saved, floats, |snapshot| state.commit(snapshot))
}

/// Gives `save` what a state is made of.
fn with_snapshot<T>(
    material: &Material,
    fingerprints: &Fingerprints,
    saved: &Saved,
    floats: &[f32],
    save: impl FnOnce(&Snapshot) -> Result<T>,
) -> Result<T> {
    let sections = material.regions.sections(&material.network);
    let floats: Vec<&[f32]> = sections.into_iter().map(|(_, range)| &floats[range]).collect();
    save(&Snapshot { fingerprints: *fingerprints, text: &saved.to_text()?, floats: &floats })
}
