//! Steps on every worker, or on one while other processes have the cores.
//!
//! Workers wait for each other several times in a step, so that all stand still when another process has the core of one.
//! The bits of a step do not depend on the number of threads: beside others it runs on one worker while that is faster,
//! which it can be with two or three.

use crate::kernels::threads::{self, processor_seconds};
use std::time::Instant;

/// Seconds of steps that are judged together, at least.
const LOOK: f64 = 0.2;
/// Processors in use for each worker, below which others may have the cores. More workers than a step keeps busy look the
/// same: then one is tried in vain, ever more seldom.
const CROWDED: f64 = 0.8;
/// Seconds from a trial of the other way to the next, at least and at most: while all workers are at it ...
const ALL: (f64, f64) = (5.0, 320.0);
/// ... and while one is, which finds out soon that the others have left.
const ONE: (f64, f64) = (0.4, 5.0);
/// ... and at least so many times as long as the trial: it costs no more than 4 % of the time.
const TRIALS: f64 = 25.0;
/// Seconds that a step on one worker may take to be tried: a run has to stop soon when it is asked to.
const LONGEST: f64 = 1.0;

/// How the steps of a run share the machine.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Steps run on one worker.
    single: bool,
    /// Images per second of the way before, while this one is on trial.
    before: Option<f64>,
    /// Seconds until the other way may be tried.
    wait: f64,
    /// Seconds that these were after the last trial, less those that all workers had the cores since.
    pause: f64,
    look: Look,
}

/// What steps took.
#[derive(Debug, Default)]
struct Look {
    steps: usize,
    images: usize,
    seconds: f64,
    processor_seconds: f64,
}

impl Pace {
    /// Runs `f`, a step with so many images.
    pub(super) fn step<R: Send>(&mut self, images: usize, f: impl FnOnce() -> R + Send) -> R {
        let (start, used) = (Instant::now(), processor_seconds());
        let result = if self.single { threads::alone(f) } else { threads::awake(f) };
        let look = &mut self.look;
        look.steps += 1;
        look.images += images;
        look.seconds += start.elapsed().as_secs_f64();
        look.processor_seconds += processor_seconds() - used;
        if look.seconds >= LOOK {
            let look = std::mem::take(look);
            self.judge(&look, threads::workers());
        }
        result
    }

    /// Stays or changes after a look. A trial lasts one look; from the better way the other is tried now and then.
    fn judge(&mut self, look: &Look, workers: usize) {
        let (rate, seconds) = (look.images as f64 / look.seconds, look.seconds);
        let all = workers as f64 * seconds;
        if let Some(before) = self.before.take() {
            let worse = rate < before;
            self.single ^= worse;
            let (least, most) = if self.single { ONE } else { ALL };
            self.pause = if worse { (2.0 * self.pause).clamp(least, most) } else { least };
            self.wait = self.pause.max(if self.single { 0.0 } else { TRIALS * seconds });
            return;
        }
        self.wait -= seconds;
        let crowded = workers > 1 && look.processor_seconds < CROWDED * all && all <= LONGEST * look.steps as f64;
        if !self.single && !crowded {
            self.pause = (self.pause - seconds).max(0.0);
        } else if self.wait <= 0.0 {
            self.before = Some(rate);
            self.single = !self.single;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::{PRESETS, preset};
    use crate::train::Stepper;

    /// How many of `looks` ran on one of two workers, where each way makes so many images in a look of 50 steps;
    /// `crowded(i)` tells whether look `i` has company.
    fn singles(pace: &mut Pace, looks: u32, crowded: impl Fn(u32) -> bool, images: [usize; 2]) -> u32 {
        let mut count = 0;
        for i in 0..looks {
            count += u32::from(pace.single);
            let processor_seconds = if pace.single || crowded(i) { LOOK } else { 1.9 * LOOK };
            let images = images[usize::from(pace.single)];
            pace.judge(&Look { steps: 50, images, seconds: LOOK, processor_seconds }, 2);
        }
        count
    }

    #[test]
    fn one_worker_while_that_is_faster() {
        let mut pace = Pace::default();
        assert_eq!(singles(&mut pace, 1000, |_| false, [100, 50]), 0, "alone on the machine, nothing is tried");
        let beside = singles(&mut pace, 300, |_| true, [40, 50]);
        assert!((275..300).contains(&beside), "{beside} of 300 looks beside a busy process");
        let after = singles(&mut pace, 1000, |_| false, [100, 50]);
        assert!(after <= 25, "{after} looks until both are used again");
    }

    #[test]
    fn trials_become_seldom_while_they_fail() {
        let mut pace = Pace::default();
        let [first, later] = [100, 10_000].map(|looks| singles(&mut pace, looks, |_| true, [100, 10]));
        assert!((2..=4).contains(&first) && later <= 12, "{first}, {later}");
        let now_and_then = singles(&mut Pace::default(), 1000, |i| i % 2 == 0, [100, 10]);
        assert!(now_and_then <= 40, "{now_and_then} of 1000 looks");
    }

    #[test]
    fn a_short_visit_costs_a_short_time() {
        let mut pace = Pace::default();
        assert!(singles(&mut pace, 2, |_| true, [40, 50]) == 1 && pace.single);
        assert!(singles(&mut pace, 1000, |_| false, [100, 50]) <= 3);
    }

    #[test]
    fn a_step_that_would_be_long_on_one_worker_is_not_tried() {
        let mut pace = Pace::default();
        pace.judge(&Look { steps: 1, images: 2048, seconds: 0.3, processor_seconds: 1.0 }, 64);
        assert!(!pace.single);
    }

    #[test]
    fn a_step_on_one_worker_stays_there() {
        threads::pool(3).unwrap().run(|| {
            let mut pace = Pace { single: true, ..Pace::default() };
            let caller = std::thread::current().id();
            let here = || assert_eq!(std::thread::current().id(), caller);
            let mut out = [0; 3000];
            pace.step(1, || {
                threads::awake(|| {
                    threads::for_pieces(&mut out, 1, usize::MAX, |_, piece| {
                        here();
                        piece.fill(1);
                    });
                    threads::join(here, here);
                });
            });
            assert_eq!(out, [1; 3000]);
            assert!(threads::sharing(), "afterwards work is shared again");
        });
    }

    #[test]
    fn a_run_that_changes_its_pace_keeps_its_bits() {
        for named in PRESETS {
            let mut config = preset(named.name).unwrap();
            (config.threads, config.batch, config.data.demo_train) = (3, 40, 120);
            let losses = [false, true].map(|changes| {
                let mut stepper = Stepper::new(&config).unwrap();
                let one = |step: usize| {
                    stepper.pace.single = changes && step % 2 == 1;
                    stepper.step()
                };
                (0..4).map(one).collect::<Vec<_>>()
            });
            assert_eq!(losses[0], losses[1], "{}", named.name);
        }
    }
}
