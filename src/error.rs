//! The one error type: what went wrong, where, and how to mend it; each kind has its exit code.

use std::fmt;
use std::io;
use std::path::Path;

/// Result of everything that can fail on input, files or state.
pub type Result<T> = std::result::Result<T, Error>;

/// Class of an error; it decides the exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wrong flags or configuration (exit code 2).
    Usage,
    /// A data set, connectome or image that cannot be used (exit code 3).
    Input,
    /// The operating system refused a read, write or sync (exit code 4).
    Io,
    /// A run folder or weight file that is damaged or belongs to something else (exit code 5).
    State,
    /// Stopped by a signal with the state saved (exit code 75, 130 or 143).
    Stopped(u8),
    /// Anything else (exit code 1).
    Other,
}

/// An error with its place and its remedy.
///
/// `Display` prints `place: what` and, on a line of its own, the remedy.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    place: String,
    what: String,
    remedy: String,
}

impl Error {
    /// A wrong flag or configuration value. `what` names the key or flag, what was found and what is accepted.
    pub fn usage(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::Usage, "", what, remedy)
    }

    /// Bad input data. `place` is the file and the line, field or byte in it.
    pub fn input(place: impl fmt::Display, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::Input, place, what, remedy)
    }

    /// A damaged or foreign run folder or weight file.
    pub fn state(place: impl fmt::Display, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::State, place, what, remedy)
    }

    /// A failed system call on `path`; `doing` is a verb phrase such as `writing`.
    /// A path that does not exist is bad input (exit code 3), everything else an I/O failure (4).
    pub fn io(path: &Path, doing: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Self::new(Kind::Input, path.display(), format!("{doing}: no such file or folder"), "check the path")
            }
            io::ErrorKind::IsADirectory => {
                Self::new(Kind::Input, path.display(), format!("{doing}: it is a folder"), "name a file")
            }
            _ => Self::new(Kind::Io, path.display(), format!("{doing}: {error}"), "check permissions and free space"),
        }
    }

    /// The same as an I/O failure (exit code 4): what cannot be written is no bad input.
    #[must_use]
    pub fn into_io(self) -> Self {
        Self { kind: Kind::Io, ..self }
    }

    /// The same, of a file that belongs to a run: bad input there is a damaged run (exit code 5).
    #[must_use]
    pub fn into_state(self) -> Self {
        let kind = if self.kind == Kind::Input { Kind::State } else { self.kind };
        Self { kind, ..self }
    }

    /// Stopped by a signal after the state was saved; `code` is the exit code.
    pub fn stopped(code: u8, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::Stopped(code), "", what, remedy)
    }

    /// Anything that fits no other kind.
    pub fn other(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::Other, "", what, remedy)
    }

    fn new(kind: Kind, place: impl fmt::Display, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, place: place.to_string(), what: what.into(), remedy: remedy.into() }
    }

    /// The same error at `place`, if it tells none.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        if self.place.is_empty() {
            self.place = place.to_string();
        }
        self
    }

    /// The same error with another remedy.
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// What went wrong, without place and remedy.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Class of the error.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Exit code of the program for this error, as the command line promises.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Input => 3,
            Kind::Io => 4,
            Kind::State => 5,
            Kind::Stopped(code) => code,
            Kind::Other => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{}", self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "\n  remedy: {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_place_fault_and_remedy() {
        let e = Error::input("faces.csv line 3", "pixel 7 is `x`, expected 0 to 255", "fix the row");
        assert_eq!(e.to_string(), "faces.csv line 3: pixel 7 is `x`, expected 0 to 255\n  remedy: fix the row");
        assert_eq!(e.exit_code(), 3);
    }

    #[test]
    fn a_missing_file_is_bad_input_and_a_full_disk_is_not() {
        let path = Path::new("gone");
        assert_eq!(Error::io(path, "reading", &io::ErrorKind::NotFound.into()).exit_code(), 3);
        assert_eq!(Error::io(path, "writing", &io::ErrorKind::StorageFull.into()).exit_code(), 4);
    }
}
