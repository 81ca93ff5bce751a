#!/usr/bin/env bash
# Every check of the project, as CI runs them. Needs Linux, Python 3.11 or newer with venv, and a
# Rust toolchain; makes .venv and installs the package with its test tools there.
#
# A test that lacks a part (Chromium, say) skips and names the install command; with
# RTCRELAY_TESTS_NO_SKIP=1 it fails instead. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "install into .venv"
test -x .venv/bin/python || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
export PATH="$PWD/.venv/bin:$PATH"
crate=rtcrelay/dataplane/Cargo.toml

step "ruff"
ruff check .
ruff format --check .

step "mypy"
mypy

step "stubtest"
python -m mypy.stubtest rtcrelay._dataplane --allowlist tests/stubtest-allow.txt

step "cargo fmt, clippy, test"
cargo fmt --manifest-path "$crate" --check
cargo clippy --quiet --locked --manifest-path "$crate" --all-targets --all-features -- -D warnings
cargo test --quiet --locked --manifest-path "$crate"

step "pytest"
pytest "$@"
