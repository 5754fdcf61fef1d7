//! Reads files in a child process and reports what became of each: read, refused, panicked, died, hung; and its memory.

use super::Format;
use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Names the format to the child.
const FORMAT: &str = "HOSTILE_FORMAT";
/// Names the folder of files to the child.
const FOLDER: &str = "HOSTILE_FOLDER";
/// Names the file to begin with to the child.
const FIRST: &str = "HOSTILE_FIRST";
/// What the child says in front of its reports, so that no other line is taken for one.
const MARK: &str = "@hostile ";
/// Report of a child that leaves the rest to another.
const END: &str = "end";
/// After a file that took more the child ends: what its allocator keeps is not to be charged to the next file.
const MAX_KEPT_BYTES: u64 = 24 << 20;
/// A file that takes longer hangs. Far from the second that is promised, for a busy machine.
const HANG_SECONDS: f64 = 20.0;

/// What became of a file.
#[derive(Debug)]
pub enum Verdict {
    /// Read, or refused with a message.
    Read {
        /// Name of the file.
        name: String,
        /// 0, or the exit code of the refusal.
        code: u8,
        /// Largest memory of the process until then.
        peak_bytes: u64,
        /// Time, milliseconds; printed, and not judged: a busy machine is slow.
        #[allow(dead_code)]
        millis: u64,
        /// The message of the refusal.
        complaint: String,
    },
    /// The reader panicked.
    Panicked { name: String },
    /// The process ended: an abort, an overflow of the stack, too much memory.
    Died { name: String },
    /// No end.
    Hung { name: String },
}

impl Verdict {
    /// Largest memory of the process while reading, if it ended well.
    pub fn peak_bytes(&self) -> u64 {
        if let Self::Read { peak_bytes, .. } = self { *peak_bytes } else { 0 }
    }

    /// Time of reading, milliseconds, if it ended well.
    pub fn millis(&self) -> u64 {
        if let Self::Read { millis, .. } = self { *millis } else { 0 }
    }

    /// Name of the file.
    pub fn name(&self) -> &str {
        match self {
            Self::Read { name, .. } | Self::Panicked { name } | Self::Died { name } | Self::Hung { name } => name,
        }
    }
}

/// Verdicts on every file of `folder`, by name.
pub fn read_all(format: &Format, folder: &Path) -> Vec<Verdict> {
    read_all_as(format.name, folder, HANG_SECONDS)
}

/// The same for a format by name; a file that takes over `hang_seconds` hangs.
pub fn read_all_as(format: &str, folder: &Path, hang_seconds: f64) -> Vec<Verdict> {
    let names = names(folder);
    let mut verdicts = Vec::new();
    // A child that ends before its last file is followed by another for the rest.
    while verdicts.len() < names.len() {
        let before = verdicts.len();
        run_child(format, folder, &names[before..], hang_seconds, &mut verdicts);
        assert!(verdicts.len() > before, "the child read nothing");
    }
    verdicts
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// Reads `names` in one child until it ends; adds a verdict for each file that was begun.
fn run_child(format: &str, folder: &Path, names: &[String], hang_seconds: f64, verdicts: &mut Vec<Verdict>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .envs([(FORMAT, format), (FIRST, names[0].as_str())])
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (sender, lines) = channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let listener = std::thread::spawn(move || {
        for line in output.lines().map_while(std::result::Result::ok) {
            if let Some(report) = line.split_once(MARK) {
                let _ = sender.send(report.1.to_owned());
            }
        }
    });
    for name in names {
        let name = name.clone();
        verdicts.push(match lines.recv_timeout(Duration::from_secs_f64(hang_seconds)) {
            Ok(report) if report == END => break,
            Ok(report) => verdict(name, &report),
            Err(RecvTimeoutError::Timeout) => Verdict::Hung { name },
            Err(RecvTimeoutError::Disconnected) => Verdict::Died { name },
        });
        if matches!(verdicts.last(), Some(Verdict::Hung { .. } | Verdict::Died { .. })) {
            break;
        }
    }
    let _ = child.kill();
    child.wait().unwrap();
    listener.join().unwrap();
}

fn verdict(name: String, report: &str) -> Verdict {
    if report == "panic" {
        return Verdict::Panicked { name };
    }
    let mut parts = report.splitn(4, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let code = next().parse().unwrap();
    let (peak_bytes, millis) = (next().parse().unwrap(), next().parse().unwrap());
    Verdict::Read { name, code, peak_bytes, millis, complaint: next().to_owned() }
}

/// The child's side: reads its files one after the other and reports each. Without a parent it does nothing.
pub fn child<'a>(format: impl Fn(&str) -> Option<&'a Format>) {
    let (Ok(name), Some(folder), Ok(first)) = (std::env::var(FORMAT), std::env::var_os(FOLDER), std::env::var(FIRST))
    else {
        return;
    };
    let read = |path: &Path| match name.strip_prefix('!') {
        Some(how) => misbehave(how),
        None => (format(&name).unwrap().read)(path),
    };
    let folder = Path::new(&folder);
    for name in names(folder).into_iter().skip_while(|n| *n != first) {
        reset_peak();
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| read(&folder.join(&name))));
        let millis = start.elapsed().as_millis();
        let report = match result {
            Err(_) => "panic".to_string(),
            Ok(Ok(())) => format!("0 {} {millis} ", peak_bytes()),
            Ok(Err(e)) => {
                let message = e.to_string().replace(['\n', '\r'], " ");
                format!("{} {} {millis} {message}", e.exit_code(), peak_bytes())
            }
        };
        println!("{MARK}{report}");
        if peak_bytes() > MAX_KEPT_BYTES {
            println!("{MARK}{END}");
            break;
        }
    }
}

/// What the frame has to see.
fn misbehave(how: &str) -> bionic_cpu::error::Result<()> {
    match how {
        "abort" => std::process::abort(),
        "hang" => std::thread::sleep(Duration::from_secs(3600)),
        "panic" => panic!("asked to"),
        _ => drop(std::hint::black_box(vec![1u8; 100 << 20])),
    }
    Ok(())
}

/// Makes the peak the present memory, where the system can.
fn reset_peak() {
    #[cfg(target_os = "linux")]
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Largest resident memory since [`reset_peak`], bytes; 0 where the system does not tell.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
