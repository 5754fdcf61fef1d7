#!/usr/bin/env bash
# Tests under the address and the thread sanitizer: tools/sanitize.sh [address|thread]... Takes about ten minutes each.
set -euo pipefail
cd "$(dirname "$0")/.."

# The sanitizers are those of nightly; the compiler is the stable one.
export RUSTC_BOOTSTRAP=1
target=$(rustc -vV | sed -n 's/^host: //p')
sanitizers=("$@")
[[ ${#sanitizers[@]} -gt 0 ]] || sanitizers=(address thread)
for sanitizer in "${sanitizers[@]}"; do
    # As in .cargo/config.toml, which these flags replace.
    export RUSTFLAGS="-C target-cpu=native -Z sanitizer=$sanitizer"
    export CARGO_TARGET_DIR=target/sanitize-$sanitizer
    case $sanitizer in
    address)
        # Leaks are sought by tracing, which strace does already; SIGBUS on the map is ours to handle.
        export ASAN_OPTIONS=detect_leaks=0:handle_sigbus=0
        tests=(--lib --test cli --test durability --test export --test golden --test plasticity --test training)
        ;;
    thread)
        # The standard library comes without the sanitizer, which then takes every lock and channel inside it for a race:
        # only the module with `unsafe` is of use, on one thread of the test harness, whose own channel is left out.
        mkdir -p "$CARGO_TARGET_DIR"
        echo 'race:test::event::CompletedTest' >"$CARGO_TARGET_DIR/suppressions"
        export TSAN_OPTIONS=suppressions=$PWD/$CARGO_TARGET_DIR/suppressions
        RUSTFLAGS+=" -C unsafe-allow-abi-mismatch=sanitizer"
        tests=(--lib store:: -- --test-threads=1)
        ;;
    *)
        echo "sanitize: '$sanitizer' is neither address nor thread" >&2
        exit 2
        ;;
    esac
    cargo test --locked --target "$target" --no-fail-fast "${tests[@]}"
done
