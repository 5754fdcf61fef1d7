//! Writing results to stdout and messages to stderr, without a panic where the other end is gone or full.

use crate::error::{Error, Result};
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Writes a result to stdout, with exactly one newline at its end. A closed pipe is fine: the reader has what it wants.
///
/// # Errors
/// `Io` if stdout refuses the text (a full disk).
pub fn result(text: &str) -> Result<()> {
    write_line(&mut io::stdout().lock(), text)
        .map_err(|e| Error::io(Path::new("standard output"), "writing the result", &e))
}

/// Writes a result to stdout as one JSON object on one line.
///
/// # Errors
/// As [`result`]; `Other` if the value is no JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value)
        .map_err(|e| Error::other(format!("the result cannot be written as JSON: {e}"), "leave out --json"))?;
    result(&text)
}

/// Writes a message to stderr; there is nowhere to complain if that fails. Names in it come from files of others: nothing
/// in them moves a terminal's cursor or sets its colours.
pub fn message(text: &str) {
    let _ = write_line(&mut io::stderr().lock(), &printable(text));
}

fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "?")
}

static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on stderr has nothing but errors, as `--quiet` promises.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Writes a warning to stderr, unless that is to be quiet.
pub fn warning(text: &str) {
    note(&format!("warning: {text}"));
}

/// Writes what is no error to stderr, unless that is to be quiet.
pub fn note(text: &str) {
    if !is_quiet() {
        message(text);
    }
}

/// Whether stderr is to have nothing but errors.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

fn write_line(out: &mut impl Write, text: &str) -> io::Result<()> {
    let written = out.write_all(text.trim_end().as_bytes()).and_then(|()| out.write_all(b"\n"));
    match written.and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn ends_with_one_newline() {
        let mut out = Vec::new();
        write_line(&mut out, "a\nb\n\n").unwrap();
        assert_eq!(out, b"a\nb\n");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\tb\u{1b}[31mc\u{9b}d\n"), "a\tb?[31mc?d\n");
    }

    #[test]
    fn a_closed_pipe_is_fine_and_a_full_disk_is_not() {
        assert!(write_line(&mut Refusing(ErrorKind::BrokenPipe), "x").is_ok());
        assert!(write_line(&mut Refusing(ErrorKind::StorageFull), "x").is_err());
    }
}
