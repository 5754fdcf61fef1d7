//! Signals while training: the first asks for a stop with the state saved, a second Ctrl-C ends at once.

use super::output;
use crate::error::{Error, Result};
use crate::train::Stop;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::sync::Arc;

static STOP: Stop = Stop::new();

/// A file that grows over the limit of the shell (`ulimit -f`) is an error of the call that writes it, with its message and
/// exit code, and does not kill.
pub fn outlive_file_size_limit() {
    // Were that refused, the signal would kill as before.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Starts to listen; the training loop polls what this returns.
///
/// Exit codes: SIGINT 130 and SIGTERM 143 (128 + the signal's number, as shells count), SIGUSR1 75 (`EX_TEMPFAIL`: a
/// batch system may start the job again). Without a call every signal keeps its ordinary effect.
///
/// # Errors
/// `Other` if the operating system refuses the handlers or the thread.
pub fn listen() -> Result<&'static Stop> {
    let refused = |e: std::io::Error| Error::other(format!("cannot listen for signals: {e}"), "try again");
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1]).map_err(refused)?;
    let body = move || {
        let mut first = None;
        for signal in signals.forever() {
            // `exit` is `_exit`: nothing more is flushed; the last state on disk is whole at any moment.
            match (signal, first.replace(signal)) {
                (SIGINT, Some(_)) => signal_hook::low_level::exit(130),
                (_, Some(_)) => {}
                (_, None) if STOP.request(exit_code(signal)) => {
                    output::note("stopping after this step, saving the state; Ctrl-C again ends at once");
                }
                (_, None) => {
                    output::message(
                        "stopped before the first step: what was saved earlier is as it was; repeat the command",
                    );
                    signal_hook::low_level::exit(i32::from(exit_code(signal)));
                }
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(body).map_err(refused)?;
    Ok(&STOP)
}

fn exit_code(signal: i32) -> u8 {
    match signal {
        SIGINT => 130,
        SIGTERM => 143,
        _ => 75,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_promised_ones() {
        assert_eq!([SIGINT, SIGTERM, SIGUSR1].map(exit_code), [130, 143, 75]);
    }
}
