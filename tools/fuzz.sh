#!/usr/bin/env bash
# Fuzzes each reader for SECONDS: tools/fuzz.sh SECONDS [TARGET...]. Ends with 1 if an input was found that crashes a
# reader, breaks what its target asserts, or passes a limit; the input lies where the table says, and belongs into
# tests/corpus once it is mended. Needs `cargo install cargo-fuzz --locked`.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?tools/fuzz.sh SECONDS [TARGET...]}
shift
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "fuzz: SECONDS is '$seconds', expected a positive integer" >&2; exit 2; }
fuzz=tools/fuzz
# The sanitizer and libFuzzer's options are those of nightly; the compiler is the stable one.
export RUSTC_BOOTSTRAP=1
# As in .cargo/config.toml, which the flags of cargo-fuzz replace.
export RUSTFLAGS="-C target-cpu=native"
# Freed memory is given back instead of being kept to find late uses: it would count against the limit below.
export ASAN_OPTIONS=${ASAN_OPTIONS:-quarantine_size_mb=4}

limits=(
    -malloc_limit_mb=64 # what a reader may take for a file of up to 1 MiB, here for one allocation
    # All of it together: 64 MiB and as much again for the sanitizer's red zones and shadow, above the 60 to 85 MiB that
    # the process takes with the sanitizer, its coverage and the seeds.
    -rss_limit_mb=256
    -timeout=5 # 1 s, times 5 for the sanitizer and a busy machine
)
# Longer files say no more about a parser, and take longer; tests/hostile.rs reads those of 1 MiB. The smallest state has 156 KiB.
max_len() { if [[ $1 == state ]]; then echo 262144; else echo 65536; fi; }

# Folders of tests/corpus whose files are seeds of a target.
formats() {
    case $1 in
    config) echo toml ;;
    faces) echo csv ;;
    faces_gz) echo csv.gz ;;
    image) echo png jpeg ;;
    *_gz) echo "${1%_gz}.gz" ;;
    *) echo "$1" ;;
    esac
}

cargo fuzz build --fuzz-dir "$fuzz"
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || mapfile -t targets < <(cargo fuzz list --fuzz-dir "$fuzz")

# The fuzzed files lie in memory where the machine has a place for that.
scratch=$(mktemp -d -p "$([[ -d /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch
log=$scratch/log
rows=()
bad=0
for target in "${targets[@]}"; do
    corpus=$fuzz/corpus/$target
    mkdir -p "$corpus"
    seeds=()
    for format in $(formats "$target"); do
        [[ -d tests/corpus/$format ]] && seeds+=("tests/corpus/$format")
    done
    code=0
    cargo fuzz run --fuzz-dir "$fuzz" "$target" "$corpus" "${seeds[@]}" -- \
        -max_total_time="$seconds" -print_final_stats=1 -max_len="$(max_len "$target")" "${limits[@]}" >"$log" 2>&1 || code=$?
    cases=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    finding=none
    if [[ $code != 0 ]]; then
        bad=1
        finding=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        finding=${finding:-"ended with $code"}
        tail -n 40 "$log" >&2
    fi
    rows+=("$(printf '%-18s %10s  %s' "$target" "${cases:-0}" "$finding")")
done
printf '\n%-18s %10s  %s\n' target cases findings
printf '%s\n' "${rows[@]}"
exit "$bad"
