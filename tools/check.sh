#!/usr/bin/env bash
# Format, lints and documentation, with warnings as errors. Tests: see README.md. Both together: .ci/run.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    echo "check: $*"
    "$@"
}

step cargo fmt --check
step cargo clippy --release --all-targets --locked --quiet -- -D warnings
RUSTDOCFLAGS=-Dwarnings step cargo doc --no-deps --locked --quiet
