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

# Licences, sources and bans of the dependencies (deny.toml). Advisories need a database from the network:
# `cargo deny --locked check` has them too.
if cargo deny --version >/dev/null 2>&1; then
    step cargo deny --log-level error --locked check bans licenses sources
else
    echo "check: skipped: cargo deny (not installed: cargo install cargo-deny --locked)"
fi
