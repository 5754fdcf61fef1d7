//! Steps on every worker, or on one while other processes have the cores.
//!
//! Workers wait for each other several times in a step, so that all stand still when another process has the core of one.
//! The bits of a step do not depend on the number of threads: beside others it runs on one worker while that is faster.

use crate::kernels::threads;
use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// Seconds of steps that are judged together.
const LOOK: f64 = 0.2;
/// Processors in use for each worker, below which others seem to have the cores.
const CROWDED: f64 = 0.8;
/// Looks from one trial of the other way to the next, at least and at most.
const LEAST: u32 = 25;
const MOST: u32 = 1600;

/// How the steps of a run share the machine.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Steps run on one worker.
    single: bool,
    /// Images per second of the way before, while this one is on trial.
    before: Option<f64>,
    /// Looks until the other way is tried.
    wait: u32,
    /// How many these were to be at last.
    pause: u32,
    look: Look,
}

/// What steps took.
#[derive(Debug, Default)]
struct Look {
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
        look.images += images;
        look.seconds += start.elapsed().as_secs_f64();
        look.processor_seconds += processor_seconds() - used;
        if look.seconds >= LOOK {
            let Look { images, seconds, processor_seconds } = std::mem::take(look);
            let workers = threads::workers();
            let crowded = workers > 1 && processor_seconds < CROWDED * workers as f64 * seconds;
            self.judge(images as f64 / seconds, crowded);
        }
        result
    }

    /// Stays or changes after a look with so many images per second. A trial lasts one look; from the better way the other
    /// is tried now and then: one worker only beside others, and ever more seldom while it is slower.
    fn judge(&mut self, rate: f64, crowded: bool) {
        if let Some(before) = self.before.take() {
            let worse = rate < before;
            self.single ^= worse;
            self.pause = if worse && !self.single { (2 * self.pause).clamp(LEAST, MOST) } else { LEAST };
            self.wait = self.pause;
        } else if self.single || crowded {
            self.wait = self.wait.saturating_sub(1);
            if self.wait == 0 {
                self.before = Some(rate);
                self.single ^= true;
            }
        } else {
            (self.wait, self.pause) = (0, 0);
        }
    }
}

/// Processor time of this process, of all its threads.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;
    use crate::train::Stepper;

    /// Which of `looks` ran on one worker, where each way makes so many images per second.
    fn singles(pace: &mut Pace, looks: u32, [together, single]: [f64; 2], crowded: bool) -> u32 {
        let mut count = 0;
        for _ in 0..looks {
            count += u32::from(pace.single);
            // One worker of two uses half of both.
            pace.judge(if pace.single { single } else { together }, crowded || pace.single);
        }
        count
    }

    #[test]
    fn one_worker_while_that_is_faster() {
        let mut pace = Pace::default();
        assert_eq!(singles(&mut pace, 1000, [100.0, 50.0], false), 0, "alone on the machine, nothing is tried");
        let beside = singles(&mut pace, 260, [40.0, 50.0], true);
        assert!((245..260).contains(&beside), "{beside} of 260 looks beside a busy process");
        let after = singles(&mut pace, 1000, [100.0, 50.0], false);
        assert!(after <= LEAST, "{after} looks until both are used again");
    }

    #[test]
    fn trials_become_seldom_while_they_fail() {
        let mut pace = Pace::default();
        let [first, later] = [100, 10_000].map(|looks| singles(&mut pace, looks, [100.0, 10.0], true));
        assert!((2..=4).contains(&first) && later <= 11, "{first}, {later}");
    }

    #[test]
    fn a_step_on_one_worker_stays_there() {
        threads::pool(3).unwrap().run(|| {
            let mut pace = Pace { single: true, ..Pace::default() };
            let caller = std::thread::current().id();
            let mut out = [0; 3000];
            pace.step(1, || {
                threads::for_pieces(&mut out, 1, usize::MAX, |_, piece| {
                    assert_eq!(std::thread::current().id(), caller);
                    piece.fill(1);
                })
            });
            assert_eq!(out, [1; 3000]);
            assert!(threads::sharing(), "afterwards work is shared again");
        });
    }

    #[test]
    fn a_run_that_changes_its_pace_keeps_its_bits() {
        let mut config = preset("bionic").unwrap();
        (config.threads, config.batch, config.data.demo_train) = (3, 40, 160);
        let losses = [0, 2, 3].map(|every| {
            let mut stepper = Stepper::new(&config).unwrap();
            let one = |step: usize| {
                stepper.pace.single = every > 0 && step.is_multiple_of(every);
                stepper.step()
            };
            (0..6).map(one).collect::<Vec<_>>()
        });
        assert!(losses[0] == losses[1] && losses[0] == losses[2], "{losses:?}");
    }
}
