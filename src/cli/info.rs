//! `info`: what this build uses and what this CPU has. The vector width is fixed when the program is built.

use super::output;
use crate::error::Result;
use crate::kernels::bf16;
use serde::Serialize;

/// Flags of `info`.
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The answer of `info`.
#[derive(Serialize)]
struct Info {
    version: &'static str,
    /// Vector instructions that the build may use.
    target_features: Vec<&'static str>,
    /// Those of the same list that the CPU has.
    cpu_features: Vec<&'static str>,
    /// Values per f32 vector of the kernels.
    lanes_f32: usize,
    /// What multiplies where `precision = "bf16"`: `AMX`, or `f32` vectors.
    bf16_products: &'static str,
    /// Threads that `--threads 0` uses.
    threads: usize,
    /// What is wrong with the width of the build on this CPU.
    warning: Option<String>,
}

/// Prints the answer.
///
/// # Errors
/// `Io` if stdout refuses it.
pub fn run(args: &Args) -> Result<()> {
    let (built, usable) = features();
    let info = Info {
        version: env!("CARGO_PKG_VERSION"),
        lanes_f32: lanes_f32(&built),
        bf16_products: if bf16::is_native() { "AMX" } else { "f32" },
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        warning: compare(&built, &usable),
        target_features: built,
        cpu_features: usable,
    };
    if args.json {
        return output::json(&info);
    }
    let mut text = format!(
        "bionic-cpu       {}\ntarget features  {}\nCPU features     {}\nf32 lanes        {}\nbf16 products    in {}\n\
         threads          {}",
        info.version,
        info.target_features.join(" "),
        info.cpu_features.join(" "),
        info.lanes_f32,
        info.bf16_products,
        info.threads,
    );
    if let Some(warning) = info.warning {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    output::result(&text)
}

/// A warning if the build uses narrower f32 vectors than the CPU has, or wider ones.
pub fn width_warning() -> Option<String> {
    let (built, usable) = features();
    compare(&built, &usable)
}

fn compare(built: &[&str], usable: &[&str]) -> Option<String> {
    let rebuild = "build it on this machine: cargo build --release";
    if let Some(missing) = built.iter().find(|f| !usable.contains(f)) {
        return Some(format!("this build uses {missing}, which this CPU lacks; {rebuild}"));
    }
    let (narrow, wide) = (lanes_f32(built), lanes_f32(usable));
    (narrow < wide).then(|| format!("this build uses {narrow} f32 lanes of the CPU's {wide}; {rebuild}"))
}

/// Lanes of the widest f32 vector: 16 with AVX-512F, 8 with AVX, else 4.
fn lanes_f32(features: &[&str]) -> usize {
    match () {
        () if features.contains(&"avx512f") => 16,
        () if features.contains(&"avx") => 8,
        () => 4,
    }
}

/// Names of instruction-set extensions.
type Names = Vec<&'static str>;

/// The extensions that matter to the kernels: those that the build may use, and those that the CPU has.
///
/// `is_x86_feature_detected!` is constant `true` for whatever the build enables, so where Linux lists what CPUID found,
/// that list decides.
#[cfg(target_arch = "x86_64")]
fn features() -> (Names, Names) {
    use std::arch::is_x86_feature_detected;
    let flags = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu_flags(&text));
    let (mut built, mut usable) = (Names::new(), Names::new());
    let mut feature = |name, flag: &str, is_built: bool, detected: bool| {
        if is_built {
            built.push(name);
        }
        if flags.as_ref().map_or(detected, |f| f.iter().any(|found| found == flag)) {
            usable.push(name);
        }
    };
    // A macro because `cfg!` and the detection accept literals only. Right: the name in /proc/cpuinfo.
    macro_rules! table {
        ($($name:tt $flag:literal;)*) => {
            $(feature($name, $flag, cfg!(target_feature = $name), is_x86_feature_detected!($name));)*
        };
    }
    table! {
        "sse4.1" "sse4_1";
        "avx" "avx";
        "fma" "fma";
        "avx2" "avx2";
        "avx512f" "avx512f";
        "avx512dq" "avx512dq";
        "avx512bw" "avx512bw";
        "avx512vl" "avx512vl";
        "avx512vnni" "avx512_vnni";
        "avx512bf16" "avx512_bf16";
    }
    (built, usable)
}

/// The flags of the first processor in the text of `/proc/cpuinfo`.
#[cfg(target_arch = "x86_64")]
fn cpu_flags(text: &str) -> Option<Vec<String>> {
    let (_, flags) = text.lines().find(|line| line.starts_with("flags"))?.split_once(':')?;
    Some(flags.split_whitespace().map(str::to_owned).collect())
}

/// NEON is part of the architecture: build and CPU both have it.
#[cfg(target_arch = "aarch64")]
fn features() -> (Names, Names) {
    (cfg!(target_feature = "neon").then_some("neon").into_iter().collect(), vec!["neon"])
}

/// Nothing is known about other architectures.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> (Names, Names) {
    (Vec::new(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_that_runs_this_has_what_the_build_uses() {
        let (built, usable) = features();
        assert!(built.iter().all(|f| usable.contains(f)), "built for more than {usable:?}");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn cpu_flags_are_whole_words_of_the_first_processor() {
        let text = "processor\t: 0\nflags\t\t: fpu avx avx2\nbugs\t: x\nflags\t\t: avx512f\n";
        assert_eq!(cpu_flags(text).unwrap(), ["fpu", "avx", "avx2"]);
        assert_eq!(cpu_flags("Features: neon\n"), None);
    }

    #[test]
    fn width_is_compared_both_ways() {
        assert_eq!(compare(&["avx", "avx2"], &["avx", "avx2"]), None);
        assert!(
            compare(&["avx", "avx2"], &["avx", "avx2", "avx512f"]).unwrap().contains("8 f32 lanes of the CPU's 16")
        );
        assert!(compare(&["avx", "avx2"], &["avx"]).unwrap().contains("avx2, which this CPU lacks"));
    }
}
