//! Learning-rate schedules: the factor on the peak rate at each step.

use crate::config::{Learning, ScheduleKind};
use serde::{Deserialize, Serialize};

/// A schedule and, for `plateau`, its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    kind: ScheduleKind,
    warmup_steps: f64,
    total_steps: f64,
    final_fraction: f64,
    plateau_factor: f64,
    plateau_patience: usize,
    /// `plateau`: factor reached, best loss, epochs since.
    factor: f64,
    best_loss: Option<f64>,
    stale: usize,
}

impl Schedule {
    /// The configured schedule for a run of `epochs` epochs of `steps_per_epoch` steps.
    pub fn new(config: &Learning, epochs: usize, steps_per_epoch: usize) -> Self {
        Self {
            kind: config.schedule,
            warmup_steps: f64::from(config.warmup_epochs) * steps_per_epoch as f64,
            total_steps: (epochs * steps_per_epoch) as f64,
            final_fraction: f64::from(config.final_fraction),
            plateau_factor: f64::from(config.plateau_factor),
            plateau_patience: config.plateau_patience,
            factor: 1.0,
            best_loss: None,
            stale: 0,
        }
    }

    /// This schedule with what `before` has seen: a run goes on with it although its settings changed.
    pub fn continuing(self, before: &Self) -> Self {
        Self { factor: before.factor, best_loss: before.best_loss, stale: before.stale, ..self }
    }

    /// Factor on the peak learning rate at `step` (from 0).
    ///
    /// `cosine`: linear warm-up, then f + (1 − f)(1 + cos πp)/2 (Loshchilov & Hutter 2017, without restarts) with
    /// p the part of the run that has passed since. `one-cycle`: rise to the peak over the first 30 % and fall to f,
    /// both along a cosine (Smith & Topin 2018). `plateau` and `constant` warm up, then stay.
    pub fn factor(&self, step: u64) -> f64 {
        let s = step as f64;
        let fall = |p: f64| {
            self.final_fraction
                + (1.0 - self.final_fraction) * 0.5 * (1.0 + (std::f64::consts::PI * p.clamp(0.0, 1.0)).cos())
        };
        let peak = 0.3 * self.total_steps;
        match self.kind {
            ScheduleKind::OneCycle if s < peak => 0.04 + 0.96 * 0.5 * (1.0 - (std::f64::consts::PI * s / peak).cos()),
            ScheduleKind::OneCycle => fall((s - peak) / (self.total_steps - peak).max(1.0)),
            _ if s < self.warmup_steps => (s + 1.0) / self.warmup_steps.max(1.0),
            ScheduleKind::Cosine => fall((s - self.warmup_steps) / (self.total_steps - self.warmup_steps).max(1.0)),
            ScheduleKind::Plateau | ScheduleKind::Constant => self.factor,
        }
    }

    /// Tells the schedule the validation loss at the end of an epoch; only `plateau` listens.
    pub fn epoch_ended(&mut self, validation_loss: f64) {
        if self.best_loss.is_none_or(|best| validation_loss < best) {
            self.best_loss = Some(validation_loss);
            self.stale = 0;
            return;
        }
        self.stale += 1;
        if self.kind == ScheduleKind::Plateau && self.stale > self.plateau_patience {
            self.factor = (self.factor * self.plateau_factor).max(self.final_fraction);
            self.stale = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::PRESETS;

    #[test]
    fn a_continued_schedule_has_the_new_settings_and_the_old_state() {
        let mut before = schedule(ScheduleKind::Plateau);
        (0..9).for_each(|_| before.epoch_ended(1.0));
        let mut longer = schedule(ScheduleKind::Plateau);
        longer.total_steps *= 2.0;
        let continued = longer.clone().continuing(&before);
        assert_eq!((continued.factor, continued.total_steps), (before.factor, longer.total_steps));
        assert!(before.factor < 1.0);
    }

    fn schedule(kind: ScheduleKind) -> Schedule {
        let mut config = (PRESETS[0].config)().learning;
        config.schedule = kind;
        config.warmup_epochs = 1.0;
        config.final_fraction = 0.1;
        config.plateau_factor = 0.5;
        config.plateau_patience = 1;
        Schedule::new(&config, 10, 100)
    }

    #[test]
    fn cosine_warms_up_peaks_and_ends_at_its_final_fraction() {
        let s = schedule(ScheduleKind::Cosine);
        assert!((s.factor(0) - 0.01).abs() < 1e-9);
        assert!((s.factor(99) - 1.0).abs() < 1e-9);
        assert!((s.factor(550) - 0.55).abs() < 1e-8);
        assert!((s.factor(1000) - f64::from(0.1f32)).abs() < 1e-9);
    }

    #[test]
    fn one_cycle_peaks_at_thirty_percent() {
        let s = schedule(ScheduleKind::OneCycle);
        assert!((s.factor(0) - 0.04).abs() < 1e-9);
        assert!((s.factor(300) - 1.0).abs() < 1e-9);
        assert!((s.factor(1000) - f64::from(0.1f32)).abs() < 1e-9);
    }

    #[test]
    fn plateau_halves_after_its_patience() {
        let mut s = schedule(ScheduleKind::Plateau);
        for loss in [1.0, 0.9, 0.9, 0.9] {
            s.epoch_ended(loss);
        }
        assert!((s.factor(500) - 0.5).abs() < 1e-9);
        assert!((schedule(ScheduleKind::Constant).factor(500) - 1.0).abs() < 1e-9);
    }
}
